"""Reading and writing what is no volume: JSON and tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bilevelmorph.checks import fail
from bilevelmorph.volumes.files import replacing


def read_json(path: str | Path, expected: str) -> Any:
    """What a JSON file holds.

    Args:
        path: Of the file.
        expected: What it should have been, for the error.

    Raises:
        InputError: It is not there, or is no JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise fail(str(path), "no such file", expected)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise fail(str(path), "broken JSON", expected) from error


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON that people can read; the file appears whole or not at all."""
    with replacing(path) as temporary:
        Path(temporary).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_csv(path: str | Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write one line a row; the file appears whole or not at all.

    Args:
        path: Of the file.
        rows: Values by column; columns come in the order in which they first occur.
    """
    columns = list(dict.fromkeys(k for row in rows for k in row))
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        out = csv.DictWriter(stream, columns)
        out.writeheader()
        out.writerows(rows)


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """What `write_csv` wrote, every value as text."""
    with Path(path).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
