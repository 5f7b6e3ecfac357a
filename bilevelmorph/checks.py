"""The one place where argument errors are made.

A message says what came, what was expected and how to mend it, in one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class InputError(ValueError):
    """A user's mistake: bad file, bad flag, data that do not fit.

    The command line prints its message as one line and ends with status 2;
    in a program it is an ordinary `ValueError`.

    >>> try:
    ...     positive("--epochs", -1)
    ... except ValueError as error:
    ...     print(error)
    --epochs: got -1, expected a number above 0
    """


def fail(what: str, came: Any, expected: str, mend: str = "") -> InputError:
    """Build an error, to be raised by the caller.

    Args:
        what: The thing that is wrong, such as ``"--epochs"`` or a file's name.
        came: What was found.
        expected: What would have been right.
        mend: How to put it right; optional.

    Returns:
        The `InputError`.

    >>> str(fail("--lr", -1, "a number above 0"))
    '--lr: got -1, expected a number above 0'
    """
    text = f"{what}: got {came}, expected {expected}"
    return InputError(f"{text}; {mend}" if mend else text)


def one_of(what: str, value: Any, allowed: Iterable[Any]) -> Any:
    """Return `value` if it is among `allowed`, else raise `InputError`.

    >>> one_of("indexing", "ij", ("ij", "xy"))
    'ij'
    """
    allowed = list(allowed)
    if value not in allowed:
        raise fail(what, repr(value), "one of " + ", ".join(str(a) for a in allowed))
    return value


def positive(what: str, value: Any, *, zero: bool = False, whole: bool = False) -> Any:
    """Return `value` if it is a finite number above zero (or zero, if allowed).

    >>> positive("steps", 7, whole=True)
    7
    """
    kind = "a whole number" if whole else "a number"
    bound = f"{kind} {'of at least' if zero else 'above'} 0"
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise fail(what, repr(value), bound)
    if not np.isfinite(value) or (whole and value != int(value)):
        raise fail(what, value, bound)
    if not (value > 0 or (zero and value == 0)):
        raise fail(what, value, bound)
    return value


def spatial_rank(what: str, ndims: int, allowed: Sequence[int] = (1, 2, 3)) -> int:
    """Return `ndims` if it is a supported number of spatial dimensions.

    >>> spatial_rank("image", 3)
    3
    """
    if ndims not in allowed:
        raise fail(what, f"{ndims} spatial dimensions", f"{', '.join(map(str, allowed))}")
    return ndims
