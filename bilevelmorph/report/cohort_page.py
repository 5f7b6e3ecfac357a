"""A page to look through the registrations of a list, doubtful ones first."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bilevelmorph.report.html_page import table, write_html

_NUMBERS = ("dice", "similarity_before", "similarity_after", "folding_percent", "mean_displacement_mm")


def write_cohort_page(
    path: str | Path, rows: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write one line per pair: failed ones, those with warnings, then the others, the worst first.

    Args:
        path: HTML file to write.
        rows: Reports of registered pairs, as in ``results.csv``.
        failed: Pairs that failed, with their errors.
    """
    columns = [name for name in _NUMBERS if any(_is_number(row.get(name)) for row in rows)]
    key = "dice" if "dice" in columns else "similarity_after"
    ordered = sorted(rows, key=lambda row: (not row.get("warnings"), float(row.get(key) or 0)))
    lines = [[*_names(row), *("" for _ in columns), html.escape(str(row["error"]))] for row in failed]
    kinds = ["doubt"] * len(lines)
    for row in ordered:
        numbers = [f"{float(row[c]):.3f}" if _is_number(row.get(c)) else "" for c in columns]
        lines.append([*_names(row), *numbers, _looks(Path(path), row)])
        kinds.append("doubt" if row.get("warnings") else "")
    doubtful = sum(bool(row.get("warnings")) for row in rows)
    said = f"{len(rows)} pairs registered, {doubtful} of them with warnings; {len(failed)} failed."
    heads = ["moving", "fixed", *(c.replace("_", " ") for c in columns), "warnings, figure"]
    write_html(
        path, "Registrations", ["<h1>Registrations</h1>", f"<p>{said}</p>", table(heads, lines, kinds)]
    )


def _names(row: Mapping[str, Any]) -> list[str]:
    return [html.escape(Path(str(row[k])).name) for k in ("moving", "fixed")]


def _looks(page: Path, row: Mapping[str, Any]) -> str:
    """The warnings, and a link to the figure of the pair if it was drawn."""
    text = html.escape(str(row.get("warnings") or ""))
    moved = row.get("moved")
    figures = sorted(Path(str(moved)).parent.glob("*.png")) if moved else []
    stem = Path(str(moved)).name.split(".")[0] if moved else ""
    own = [f for f in figures if f.stem in ("figure", stem)]
    if own:
        there = Path(os.path.relpath(own[0], page.parent)).as_posix()
        text += f' <a href="{html.escape(there)}">figure</a>'
    return text


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
