"""Loading of models saved with former names of classes and arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras

T = TypeVar("T", bound=type)


def renamed_from(old: str) -> Callable[[T], T]:
    """Class decorator: load the class also from `.keras` files with its former registered name.

    Args:
        old: Former registered name.

    >>> @renamed_from("Before")
    ... class After:
    ...     pass
    >>> keras.saving.get_registered_object("bilevelmorph>Before").__name__
    'After'
    """

    def register(cls: T) -> T:
        keras.saving.get_custom_objects()[f"bilevelmorph>{old}"] = cls
        return cls

    return register


def renamed_keys(config: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Replace former names of entries in a saved configuration.

    Args:
        config: Output of `get_config`, with former or current names.
        names: Current names by former names.

    >>> renamed_keys({"guides": ["argmin"], "radius": 1}, {"guides": "analytic_steps"})
    {'analytic_steps': ['argmin'], 'radius': 1}
    """
    return {names.get(key, key): value for key, value in config.items()}


def stored_as(store: Any, new: str, old: str) -> Any:
    """Find a layer's variables in a file written under a former name of its class.

    Keras stores layers of a list by class name, so older files have them in another place.

    Args:
        store: Argument of `load_own_variables`.
        new: Current name of the class in snake case.
        old: Former name in snake case.

    Returns:
        The store at the current place, or at the former one if the current one is empty.
    """
    path = getattr(store, "_h5_entry_path", None)
    if len(store) or not path:
        return store
    parent, _, name = path.rpartition("/")
    return store.get(f"{parent}/{name.replace(new, old, 1)}")
