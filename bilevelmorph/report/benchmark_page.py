"""The page of a benchmark: table, figures, and how it was made; it opens without a server or a network."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bilevelmorph.report.html_page import picture, table, write_html

_STYLE = "body{max-width:78em}pre{background:#f4f4f4;padding:.6em;overflow-x:auto}td{white-space:nowrap}"


def write_benchmark_page(
    path: str | Path,
    title: str,
    headings: Sequence[str],
    lines: Sequence[Sequence[str]],
    figures: Sequence[tuple[str, bytes]],
    facts: Mapping[str, Any],
    descriptions: Mapping[str, str],
    view: str = "",
) -> None:
    """Write a self-contained page.

    Args:
        path: HTML file to write.
        title: What was compared.
        headings, lines: The table, as text, first the method with which the others are compared.
        figures: Captions and PNGs.
        facts: How it was made: command, machine, date, preparation.
        descriptions: What each method is, and the versions of its packages.
        view: HTML of the view in three dimensions, see `registration_view`.
    """
    cells = [[html.escape(cell) for cell in line] for line in lines]
    kinds = ["best"] + ["doubt" if "failed" in line[1] else "" for line in lines[1:]]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        table([html.escape(name) for name in headings], cells, kinds),
        f"<p>Differences are those of {html.escape(lines[0][0])} subtracted from each method, on the pairs "
        "that both registered: mean, 95 % interval by bootstrap, and Wilcoxon's signed-rank test, corrected "
        "for the number of comparisons by Holm's method. All methods got the same images; the labels of all "
        "were warped by the same program with nearest-neighbour interpolation.</p>",
    ]
    for caption, content in figures:
        parts += [f"<h2>{html.escape(caption)}</h2>", picture(content, caption)]
    parts += [view]
    described = [[html.escape(name), html.escape(text)] for name, text in descriptions.items()]
    made = [[html.escape(name), html.escape(str(value))] for name, value in facts.items()]
    parts += ["<h2>Methods</h2>", table(["method", "what it is"], described)]
    parts += ["<h2>How it was made</h2>", table(["", ""], made)]
    write_html(path, title, parts, _STYLE)
