"""Loading of models that were saved under former names of classes and arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras

T = TypeVar("T", bound=type)


def renamed_from(old: str) -> Callable[[T], T]:
    """Class decorator: load the class from `.keras` files that hold its former registered name.

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
        config: As `get_config` returned it, then or now.
        names: New names by old ones.

    >>> renamed_keys({"guides": ["argmin"], "radius": 1}, {"guides": "analytic_steps"})
    {'analytic_steps': ['argmin'], 'radius': 1}
    """
    return {names.get(key, key): value for key, value in config.items()}


def stored_as(store: Any, new: str, old: str) -> Any:
    """Find a layer's variables in a file that was written under a former name of its class.

    Keras names layers in lists after their class, so older files have them elsewhere.

    Args:
        store: Argument of `load_own_variables`.
        new: Present name of the class in snake case.
        old: Former name in snake case.

    Returns:
        The store; the one at the old place if the new place is empty.
    """
    path = getattr(store, "_h5_entry_path", None)
    if len(store) or not path:
        return store
    parent, _, name = path.rpartition("/")
    return store.get(f"{parent}/{name.replace(new, old, 1)}")
