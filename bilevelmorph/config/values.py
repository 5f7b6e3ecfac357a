"""Checks of configuration values from files or from Python against the types of their fields."""

from __future__ import annotations

import inspect
import os
import types
import typing
from typing import Any, Literal

import numpy as np
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from bilevelmorph.errors import fail

_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def checked(value: Any, hint: Any, name: str) -> Any:
    """Check a value and convert it to the type of its field.

    Lists become tuples, a path becomes text, a class or a function becomes its
    ``"package.module:Name"``, and a number that YAML reads as text (``1e-3`` has no dot) becomes a number.

    Args:
        value: The value, from JSON, YAML or Python.
        hint: Type annotation of the field.
        name: Name of the argument, for error messages.

    Raises:
        InputError: The value has the wrong type.

    >>> checked([8, 16], tuple[int, ...], "enc"), checked("1e-3", float, "lr")
    ((8, 16), 0.001)
    """
    value = _frozen(value)
    if inspect.isclass(value) or inspect.isfunction(value):
        if "<" in value.__qualname__:
            raise fail(name, value.__qualname__, "a class or function of a module", "define it in one")
        value = f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, str) and float in _alternatives(hint) and str not in _alternatives(hint):
        try:
            value = float(value)
        except ValueError:
            raise fail(name, repr(value), describe(hint)) from None
    if isinstance(value, bool) and bool not in _alternatives(hint):
        raise fail(name, repr(value), describe(hint))
    try:
        check_type(value, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
    except TypeCheckError:
        raise fail(name, repr(value), describe(hint)) from None
    return value


def describe(hint: Any) -> str:
    """Describe the values that a field accepts.

    >>> describe(tuple[int, ...]), describe(Literal["mind"] | None)
    ('a list, each a whole number', 'one of mind, none')
    """
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return describe(parts[0])
    if origin is Literal:
        return "one of " + ", ".join(map(str, parts))
    if origin in (typing.Union, types.UnionType):
        text = " or ".join(describe(part) for part in parts if part is not type(None))
        return f"{text}, none" if text.startswith("one of") else f"{text}, or none"
    if origin is tuple:
        return f"a list, each {describe(parts[0])}"
    return _WORDS.get(hint, str(hint))


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) is typing.Annotated:
        return _alternatives(typing.get_args(hint)[0])
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _frozen(value: Any) -> Any:
    """The value as JSON would return it, with tuples in place of lists."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    return tuple(_frozen(v) for v in value) if isinstance(value, (list, tuple)) else value
