"""The figure of the comparison of speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

COLOURS = {"ours": "C0", "voxelmorph": "C1", "pytorch": "C3", "greedy": "C2"}


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the median times over the number of voxels, one panel for each case.

    Args:
        results: Of `benchmarks.speed`: by case, by size, by side.
        path: PNG file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(5, len(results))
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(3.0 * columns, 2.7 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    shown = {}
    for axis, (case, by_size) in zip(axes, results.items(), strict=False):
        for name, colour in COLOURS.items():
            points = [
                (np.prod([int(n) for n in size.split("x")]), np.array(found[name]["seconds"]))
                for size, found in by_size.items()
                if found.get(name, {}).get("seconds")
            ]
            if points:
                voxels, middle = [p[0] for p in points], [np.median(p[1]) for p in points]
                spread = [[m - p[1].min(), p[1].max() - m] for m, p in zip(middle, points, strict=True)]
                shown[name] = axis.errorbar(
                    voxels, middle, np.array(spread).T, fmt="o-", color=colour, capsize=2, markersize=3
                )
        axis.set(xscale="log", yscale="log", title=case.replace("_", " "))
        axis.grid(alpha=0.3)
    for axis in axes[len(results) :]:
        axis.set_visible(False)
    for axis in axes[::columns]:
        axis.set_ylabel("seconds")
    figure.supxlabel("voxels", fontsize=9)
    figure.legend(shown.values(), shown.keys(), loc="outside upper center", ncols=len(COLOURS), fontsize=9)
    figure.savefig(path, dpi=100)
