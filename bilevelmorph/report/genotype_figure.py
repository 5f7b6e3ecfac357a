"""A drawing of a searched architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bilevelmorph.errors import one_of
from bilevelmorph.io.atomic import atomic_path
from bilevelmorph.io.volumes import suffix
from bilevelmorph.networks.genotype import Genotype

# One colour per family of operations, darker for larger kernels.
_COLOURS = {
    "skip": "#e8e8e8",
    "conv1": "#deebf7",
    "conv3": "#9ecae1",
    "conv5": "#4292c6",
    "conv7": "#2171b5",
    "sep3": "#c7e9c0",
    "sep5": "#74c476",
    "sep7": "#31a354",
    "dil3": "#fdd0a2",
    "dil5": "#fd8d3c",
    "dil7": "#d94801",
}
_WIDE, _HIGH, _GAP = 1.0, 0.62, 0.25


def genotype_figure(path: str | Path, genotype: Genotype, title: str = "") -> None:
    """Draw F cells on the left and D cells on the right, with one row per scale, the coarsest at the bottom.

    Args:
        path: PNG or SVG file to write.
        genotype: The genotype to draw.
        title: Title of the drawing.

    Raises:
        InputError: The file name ends in neither ``.png`` nor ``.svg``.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = one_of(f"ending of {path}", suffix(path), (".png", ".svg")).removeprefix(".")
    scales = sorted(genotype.features)
    longest = max(len(cell) for cell in genotype.features.values())
    right = longest * _WIDE + 2.2
    deepest = max(len(cell) for cell in genotype.deformation.values())
    figure = Figure(figsize=(1.25 * (right + deepest * _WIDE + 1.2), 1.25 * len(scales) + 0.7))
    FigureCanvasAgg(figure)
    axis = figure.add_axes((0.01, 0.01, 0.98, 0.9))
    places: dict[int, tuple[float, float]] = {}
    for row, scale in enumerate(scales):
        y = -1.0 * row
        axis.text(-0.75, y, f"1/{scale}\n{genotype.filters[scale]} ch.", ha="center", va="center", fontsize=8)
        end = _draw_cell(axis, 0.0, y, genotype.features[scale])
        if row:
            _arrow(axis, (0.4, y + 1 - _HIGH / 2), (0.4, y + _HIGH / 2))
        if scale not in genotype.deformation:
            continue
        _arrow(
            axis, (end, y), (right - 0.05, y), ", ".join(n for n in genotype.inputs[scale] if n != "coarser")
        )
        places[scale] = (right + 0.4, y)
        last = _draw_cell(axis, right, y, genotype.deformation[scale])
        _arrow(axis, (last, y), (last + 0.45, y))
        times = f", {genotype.steps[scale]} times" if genotype.steps[scale] > 1 else ""
        axis.text(last + 0.5, y, f"velocity{times}", va="center", fontsize=7)
    for scale in places:
        if "coarser" in genotype.inputs[scale]:
            below = min(s for s in places if s > scale)
            _arrow(
                axis,
                (places[below][0], places[below][1] + _HIGH / 2),
                (places[scale][0], places[scale][1] - _HIGH / 2),
            )
    axis.text(0.0, 0.62, "features (F cells)", fontsize=9, weight="bold")
    axis.text(right, 0.62, "deformation (D cells)", fontsize=9, weight="bold")
    axis.set_xlim(-1.3, right + deepest * _WIDE + 1.4)
    axis.set_ylim(-len(scales) + 0.4, 0.95)
    axis.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=10)
    # Without a date and with fixed identifiers, the same genotype gives the same file.
    with atomic_path(path) as temporary, rc_context({"svg.hashsalt": "genotype"}):
        figure.savefig(temporary, dpi=130, format=kind, metadata={"Date": None} if kind == "svg" else None)


def _draw_cell(axis: Any, x: float, y: float, operations: tuple[str, ...]) -> float:
    """Draw the operations of a cell as a row of boxes; return the x at which the row ends."""
    from matplotlib.patches import FancyBboxPatch

    for name in operations:
        box = FancyBboxPatch(
            (x, y - _HIGH / 2),
            _WIDE - _GAP,
            _HIGH,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=_COLOURS[name],
            edgecolor="#444444",
            linewidth=0.8,
        )
        axis.add_patch(box)
        axis.text(x + (_WIDE - _GAP) / 2, y, name, ha="center", va="center", fontsize=8)
        x += _WIDE
    return x - _GAP


def _arrow(axis: Any, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
    axis.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "#555555", "linewidth": 0.9})
    if text:
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.08)
        axis.text(*middle, text, ha="center", va="bottom", fontsize=7, color="#555555")
