"""Errors about invalid arguments and files.

A message states in one line what was given, what was expected and how to fix it.
It names Python arguments, which the command line replaces with its flags.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# Marks the name of an argument within a text; no path or number contains it.
_MARK = "\x1f"
_REFERENCE = re.compile(f"{_MARK}([^{_MARK}=]*)(?:=([^{_MARK}]*))?{_MARK}")


class InputError(ValueError):
    """Invalid input: a bad file, a bad argument, or data that do not fit together.

    In Python it is an ordinary `ValueError`. The command line prints the message
    as one line, with flags in place of arguments, and exits with status 2.

    Args:
        argument: Name of the invalid argument or file; the whole message if nothing
            else is given.
        came: The value that was given.
        expected: Description of a valid value.
        fix: Suggestion how to fix the error; optional.

    >>> error = InputError("lr", "-1", "a number above 0")
    >>> str(error)
    'lr: got -1, expected a number above 0'
    >>> error.message({"lr": "--lr"})
    '--lr: got -1, expected a number above 0'
    """

    def __init__(self, argument: str, came: str = "", expected: str = "", fix: str = "") -> None:
        self.argument, self.came, self.expected, self.fix = argument, came, expected, fix
        # Keras recreates exceptions from their text alone, with a prefix.
        super().__init__(self._text(argument))

    def __reduce__(self) -> tuple[type, tuple[str, ...]]:
        return InputError, (self.argument, self.came, self.expected, self.fix)

    def _text(self, subject: str) -> str:
        text = f"{subject}: got {self.came}, expected {self.expected}" if self.expected else subject
        return f"{text}; {self.fix}" if self.fix else text

    def message(self, flags: Mapping[str, str] | None = None) -> str:
        """The one-line message.

        Args:
            flags: Flag of each argument, for users of the command line; by
                default, arguments keep their Python names.
        """
        flags = flags or {}

        def name(found: re.Match[str]) -> str:
            argument, value = found[1], found[2]
            if argument in flags:
                return flags[argument] if value is None else f"{flags[argument]} {value}"
            return argument if value is None else f"{argument}={value}"

        return in_one_line(_REFERENCE.sub(name, self._text(flags.get(self.argument, self.argument))))

    def __str__(self) -> str:
        return self.message()


def in_one_line(text: str) -> str:
    r"""Write what a terminal would not print, such as line breaks in names of files, as escapes.

    >>> in_one_line("a file\nof two lines")
    'a file\\nof two lines'
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def argument(name: str, value: Any = None) -> str:
    """Refer to an argument in an `InputError`: ``affine=none``, on the command line ``--affine none``.

    >>> error = fail("pair", "2-D images", "3-D ones", f"set {argument('affine', 'none')}")
    >>> str(error)
    'pair: got 2-D images, expected 3-D ones; set affine=none'
    >>> error.message({"affine": "--affine"})
    'pair: got 2-D images, expected 3-D ones; set --affine none'
    """
    return f"{_MARK}{name}{_MARK}" if value is None else f"{_MARK}{name}={value}{_MARK}"


def fail(what: str, came: Any, expected: str, fix: str = "") -> InputError:
    """Build an error for the caller to raise.

    Args:
        what: The invalid argument, such as ``"epochs"``, or the name of a file.
        came: The value that was given.
        expected: Description of a valid value.
        fix: Suggestion how to fix the error; optional.

    Returns:
        The `InputError`.

    >>> str(fail("lr", -1, "a number above 0"))
    'lr: got -1, expected a number above 0'
    """
    return InputError(what, str(came), expected, fix)


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
    """Return `value` if it is a finite number above zero (or zero, if allowed), else raise `InputError`.

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
    """Return `ndims` if it is a supported number of spatial dimensions, else raise `InputError`.

    >>> spatial_rank("image", 3)
    3
    """
    if ndims not in allowed:
        raise fail(what, f"{ndims} spatial dimensions", f"{', '.join(map(str, allowed))}")
    return ndims
