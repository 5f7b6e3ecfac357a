"""CSV tables."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from bilevelmorph.io.atomic import atomic_path


def write_csv(path: str | Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write one line per row; the file appears whole or not at all.

    Args:
        path: File to write.
        rows: Values by column; columns are in order of first occurrence.
    """
    columns = list(dict.fromkeys(k for row in rows for k in row))
    with atomic_path(path) as temporary, _open(temporary) as stream:
        out = csv.DictWriter(stream, columns)
        out.writeheader()
        out.writerows(rows)


def _open(path: str) -> TextIO:
    """A text file in UTF-8; names of files that the locale could not decode keep their bytes."""
    return open(path, "w", newline="", encoding="utf-8", errors="surrogateescape")


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """Read a file written by `write_csv`; every value is text."""
    with Path(path).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
