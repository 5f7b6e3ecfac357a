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

# Arguments and flags of version 0.1 with their current names; to be removed in version 0.3.
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
    """Convert a configuration to a nested table, whose keys are the names of the fields."""
    return dataclasses.asdict(config)


def from_dict(
    cls: type[C], values: Mapping[str, Any], what: str = "configuration", base: C | None = None
) -> C:
    """Build a configuration from a table, nested as returned by `to_dict` or flat with one key per flag.

    Args:
        cls: Class of the configuration.
        values: The table; missing values are taken from `base`.
        what: Name of the table, for error messages.
        base: Configuration to start from; by default that of the default values.

    Raises:
        InputError: The table has an unknown key or a value of the wrong type.

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
    """A copy of the configuration with changed values, given by part and field."""
    own: dict[str, Any] = dict(changes.get(inside, {}))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            own[field.name] = _replaced(value, changes, f"{inside}.{field.name}" if inside else field.name)
    return dataclasses.replace(config, **own)


class Table:
    """Base class of configurations that are read, written, and changed by the names of their flags.

    >>> from bilevelmorph.config import TrainingConfig
    >>> config = TrainingConfig.of(lr=0.01, epochs=3)
    >>> config.schedule.epochs, config.with_(epochs=5).schedule.epochs, config.optimization.lr
    (3, 5, 0.01)
    """

    @classmethod
    def of(cls, **values: object) -> typing.Self:
        """The defaults with some values changed, named like the flags."""
        return from_dict(cls, values, "argument")

    def with_(self, **values: object) -> typing.Self:
        """A copy with some values changed, named like the flags."""
        return from_dict(type(self), values, "argument", self)

    @classmethod
    def load(cls, path: str | Path) -> typing.Self:
        """Read a JSON or YAML file, written by this version or by version 0.1.

        Raises:
            InputError: The file is missing or malformed, or it has an unknown key.
        """
        return from_dict(cls, read_table(path), str(path))

    def flat(self) -> dict[str, object]:
        """All values by the names of their arguments."""
        found = {}
        for part, field, _, name in leaves(type(self)):
            place: Any = self
            for step in filter(None, part.split(".")):
                place = getattr(place, step)
            found[name] = getattr(place, field.name)
        return found

    def save(self, path: str | Path) -> None:
        """Write the configuration as JSON."""
        write_json(path, to_dict(self))


def read_table(path: str | Path) -> dict[str, Any]:
    """Read the table in a JSON or YAML file.

    Raises:
        InputError: The file is missing or does not hold a table.
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
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise fail(str(path), "broken YAML", "a configuration") from error
