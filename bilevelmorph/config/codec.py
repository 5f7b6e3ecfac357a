"""Configurations as nested tables of JSON or YAML."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from bilevelmorph.config.flags import leaves
from bilevelmorph.config.values import checked
from bilevelmorph.errors import fail
from bilevelmorph.io.json import read_json, write_json

C = TypeVar("C")

# Arguments of version 0.1 and what replaces them, flags likewise; to be removed in version 0.3.
RENAMED = {
    "upper": "outer_loss",
    "strategy": "hypergradient",
    "upper_lr": "outer_lr",
    "upper_every": "outer_every",
    "upper_features": "outer_features",
    "upper_part": "outer_part",
    "warmup": "bilevel_warmup",
    "guides": "analytic_steps",
    "start": "init",
    "samples": "mc_samples",
    "warm_up": "serving_warmup",
}


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as a nested table; the entries are named as its fields."""
    return dataclasses.asdict(config)


def from_dict(
    cls: type[C], values: Mapping[str, Any], what: str = "configuration", base: C | None = None
) -> C:
    """A configuration from a table: nested as `to_dict` gives it, or flat with one entry a flag.

    Args:
        cls: Of the configuration.
        values: What the table lacks is taken from `base`.
        what: Name of the table, for errors.
        base: By default the configuration's defaults.

    Raises:
        InputError: An entry that the configuration does not have, or a value of another type.

    >>> from bilevelmorph.config import TrainingConfig
    >>> config = from_dict(TrainingConfig, {"network": {"enc": [8, 8]}, "lr": 0.01})
    >>> config.network.enc, config.optimization.lr
    ((8, 8), 0.01)
    """
    known: dict[str, tuple[str, str, Any]] = {}
    for part, field, hint, name in leaves(cls):
        known[name] = known[field.name] = (part, field.name, hint)
    parts = {part for part, _, _ in known.values()}
    parts |= {".".join(p.split(".")[:k]) for p in parts for k in range(1, p.count(".") + 1)}
    changes: dict[str, dict[str, Any]] = {}

    def visit(table: Mapping[str, Any], inside: str) -> None:
        for key, value in table.items():
            part = f"{inside}.{key}" if inside else key
            if part in parts and isinstance(value, Mapping):
                visit(value, part)
                continue
            name = RENAMED.get(key, key) if key not in known else key
            if name not in known:
                raise fail(what, f"unknown key {key}", f"a key of {cls.__name__}")
            place, target, hint = known[name]
            changes.setdefault(place, {})[target] = checked(value, hint, key)

    visit(values, "")
    return _replaced(cls() if base is None else base, changes, "")


def _replaced(config: Any, changes: Mapping[str, Mapping[str, Any]], inside: str) -> Any:
    """The configuration with other values, by part and field."""
    own: dict[str, Any] = dict(changes.get(inside, {}))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            own[field.name] = _replaced(value, changes, f"{inside}.{field.name}" if inside else field.name)
    return dataclasses.replace(config, **own)


class Table:
    """What every configuration can do: be read, written, and changed by the names of its flags.

    >>> from bilevelmorph.config import TrainingConfig
    >>> config = TrainingConfig.of(lr=0.01, epochs=3)
    >>> config.schedule.epochs, config.with_(epochs=5).schedule.epochs, config.optimization.lr
    (3, 5, 0.01)
    """

    @classmethod
    def of(cls, **values: object) -> typing.Self:
        """The defaults with other values, named as the flags are."""
        return from_dict(cls, values, "argument")

    def with_(self, **values: object) -> typing.Self:
        """The same with other values, named as the flags are."""
        return from_dict(type(self), values, "argument", self)

    @classmethod
    def load(cls, path: str | Path) -> typing.Self:
        """Read JSON or YAML: what `save` wrote, now or in version 0.1.

        Raises:
            InputError: No such file, another form, or an unknown key.
        """
        return from_dict(cls, read_table(path), str(path))

    def flat(self) -> dict[str, object]:
        """Every value by its argument."""
        found = {}
        for part, field, _, name in leaves(type(self)):
            place: Any = self
            for step in filter(None, part.split(".")):
                place = getattr(place, step)
            found[name] = getattr(place, field.name)
        return found

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        write_json(path, to_dict(self))


def read_table(path: str | Path) -> dict[str, Any]:
    """The table of a JSON or YAML file.

    Raises:
        InputError: It is not there, or holds no table.
    """
    if Path(path).suffix.lower() in (".yaml", ".yml"):
        content = _read_yaml(Path(path))
    else:
        content = read_json(path, "a configuration")
    if not isinstance(content, dict):
        raise fail(str(path), f"a {type(content).__name__}", "a table of options")
    return content


def _read_yaml(path: Path) -> Any:
    import yaml

    if not path.is_file():
        raise fail(str(path), "no such file", "a configuration")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise fail(str(path), "broken YAML", "a configuration") from error
