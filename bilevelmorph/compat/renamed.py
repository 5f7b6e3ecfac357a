"""Classes of models saved before they had their present names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras

T = TypeVar("T", bound=type)


def renamed_from(old: str) -> Callable[[T], T]:
    """Let `.keras` files that call a class by its old registered name load it; a class decorator.

    Args:
        old: Name that the class was registered by.

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
    """A saved configuration with the present names of its entries.

    Args:
        config: As `get_config` gave it, then or now.
        names: New by old.

    >>> renamed_keys({"guides": ["argmin"], "radius": 1}, {"guides": "analytic_steps"})
    {'analytic_steps': ['argmin'], 'radius': 1}
    """
    return {names.get(key, key): value for key, value in config.items()}


def stored_as(store: Any, new: str, old: str) -> Any:
    """A layer's variables in a file that was written when its class had another name.

    Keras calls layers in lists by their class, so a file of before has them elsewhere.

    Args:
        store: What `load_own_variables` is given.
        new: The class's name in snake case.
        old: The name that it had.

    Returns:
        The store, at the old place where there is nothing at the new one.
    """
    path = getattr(store, "_h5_entry_path", None)
    if len(store) or not path:
        return store
    parent, _, name = path.rpartition("/")
    return store.get(f"{parent}/{name.replace(new, old, 1)}")
