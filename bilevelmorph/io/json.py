"""JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bilevelmorph.errors import fail
from bilevelmorph.io.atomic import atomic_path


def read_json(path: str | Path, expected: str) -> Any:
    """Read a JSON file.

    Args:
        path: File to read.
        expected: Description of a valid file, for the error.

    Raises:
        InputError: The file is missing or is not JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise fail(str(path), "no such file", expected)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise fail(str(path), "broken JSON", expected) from error


def write_json(path: str | Path, content: Any) -> None:
    """Write indented JSON; the file appears whole or not at all."""
    with atomic_path(path) as temporary:
        Path(temporary).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
