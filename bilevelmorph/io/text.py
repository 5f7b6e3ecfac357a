"""Text files as people's programs write them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bilevelmorph.errors import fail


def is_file(path: Path) -> bool:
    """Whether there is such a file; False for what cannot be a name, such as 10,000 letters.

    >>> is_file(Path("x" * 10_000))
    False
    """
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_text(path: str | Path, what: str) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, or in latin-1.

    Args:
        path: File to read.
        what: What is expected, for messages.

    Raises:
        InputError: There is no such file, or it is not text.
    """
    path = Path(path)
    if not path.is_file():
        raise fail(str(path), "no such file", what)
    text = path.read_bytes()
    try:
        if b"\0" in text:
            raise UnicodeError("zero bytes")
        return text.decode("utf-8-sig")
    except UnicodeError as error:
        # Spreadsheets of western Europe write latin-1, in which any bytes are text but control characters.
        if re.search(rb"[\x00-\x08\x0e-\x1f\x7f-\x9f]", text):
            raise fail(str(path), "a binary file", f"a text file: {what}") from error
        return text.decode("latin-1")


def delimiter_of(text: str) -> str:
    """What separates the columns of a table, by its first line: a comma, a semicolon or a tab.

    >>> delimiter_of("moving;fixed")
    ';'
    """
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)


@contextmanager
def parsing_csv(path: str | Path) -> Iterator[None]:
    """Refuse what Python's reader of CSV does not take, in one line.

    Raises:
        InputError: A field is longer than 131,072 characters, for example because a quote is left open.
    """
    try:
        yield
    except csv.Error as error:
        raise fail(
            str(path), f"no table ({error})", "a CSV file", "look for a quote that is left open"
        ) from error
