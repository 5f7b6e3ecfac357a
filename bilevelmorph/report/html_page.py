"""Self-contained HTML pages."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from bilevelmorph.io.atomic import atomic_path

_STYLE = (
    "body{font:15px/1.45 sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;font-size:13px}td,th{padding:.25em .7em;border-bottom:1px solid #ddd;"
    "text-align:right}td:first-child,td:last-child,th:first-child,th:last-child{text-align:left}"
    "tr.best{background:#eef6e8}tr.doubt{background:#fdf3e1}img{max-width:100%}"
)


def write_html(path: str | Path, title: str, parts: Sequence[str], style: str = "") -> None:
    """Write a page; the file appears whole or not at all.

    Args:
        path: File to write.
        title: Title of the page, as plain text.
        parts: HTML of the body.
        style: CSS in addition to that of all pages.
    """
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}{style}</style>'
    text = f'<!doctype html><html lang="en">{head}{chr(10).join(parts)}</html>\n'
    with atomic_path(path) as temporary:
        Path(temporary).write_text(text, encoding="utf-8", errors="surrogateescape")


def embedded(content: bytes) -> str:
    """The address of a PNG that is part of the page.

    >>> embedded(b"abc")
    'data:image/png;base64,YWJj'
    """
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def picture(content: bytes, what: str) -> str:
    """HTML of a PNG; `what` describes it to those who cannot see it.

    >>> picture(b"abc", "a scan")
    '<p><img alt="a scan" src="data:image/png;base64,YWJj"></p>'
    """
    return f'<p><img alt="{html.escape(what)}" src="{embedded(content)}"></p>'


def table(names: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str] = ()) -> str:
    """HTML of a table.

    Args:
        names: Headings, as HTML.
        rows: Cells of each row, as HTML.
        kinds: CSS class of each row, or nothing.

    >>> table(["a"], [["1"]], ["best"])
    '<table><tr><th>a</th></tr><tr class="best"><td>1</td></tr></table>'
    """
    lines = [f"<tr>{''.join(f'<th>{n}</th>' for n in names)}</tr>"]
    for i, row in enumerate(rows):
        kind = f' class="{kinds[i]}"' if i < len(kinds) and kinds[i] else ""
        lines.append(f"<tr{kind}>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>")
    return f"<table>{''.join(lines)}</table>"
