"""Annotated types of configuration fields, and the names of the flags derived from fields.

Tyro derives the flags, their help and their values from the dataclasses of this
package: the name of a field becomes its flag, the text below it the help.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import tyro
from tyro.conf import arg

File = Annotated[str | None, arg(metavar="FILE")]
Folder = Annotated[str | None, arg(metavar="DIR")]
Reader = Annotated[str | None, arg(metavar=".END=MODULE:NAME")]


def _parsed(tokens: list[str]) -> tuple[tuple[int, ...], ...]:
    try:
        return tuple(() if t == "-" else tuple(int(part) for part in t.split(",")) for t in tokens)
    except ValueError:
        raise ValueError(f"{' '.join(tokens)!r} is not a list such as: - 16,16 32,32") from None


# Filters of the convolutions at each scale; ``- 16,16 32`` means none, two and one convolution.
Widths = Annotated[
    tuple[tuple[int, ...], ...],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="N,N|-",
        instance_from_str=_parsed,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(map(str, part)) or "-" for part in value],
    ),
]


def leaves(cls: Any) -> Iterator[tuple[str, dataclasses.Field[Any], Any, str]]:
    """Iterate over the fields of a configuration, including those of nested configurations.

    Args:
        cls: A dataclass.

    Yields:
        Name of the part that holds the field (empty for the configuration itself), the
        field, its type, and the argument that its flag stands for.

    >>> from bilevelmorph.config import OptimizationConfig
    >>> [argument for *_, argument in leaves(OptimizationConfig)][:2]
    ['batch_size', 'steps_per_epoch']
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            for part, inner, kind, name in leaves(hint):
                yield (f"{field.name}.{part}" if part else field.name), inner, kind, name
        else:
            named = [m.name for m in getattr(hint, "__metadata__", ()) if getattr(m, "name", None)]
            yield "", field, hint, (named[0] if named else field.name).replace("-", "_")


def flags_of(cls: Any) -> dict[str, str]:
    """The flag of every argument of a configuration, by the name of the argument and of the field.

    >>> from bilevelmorph.config import ObjectiveConfig
    >>> flags_of(ObjectiveConfig)["lambda_weight"]
    '--lambda'
    """
    found = {}
    for _, field, _, name in leaves(cls):
        found[field.name] = found[name] = "--" + name.replace("_", "-")
    return found
