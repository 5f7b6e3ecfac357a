"""Figure of where the time of a registration went."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bilevelmorph.io.atomic import atomic_path


def profile_figure(path: str | Path, seconds: Mapping[str, float]) -> None:
    """Draw a bar for each part, in their order, as PNG.

    Args:
        path: File to write.
        seconds: Duration of every part.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 0.8 + 0.36 * len(seconds)), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(list(seconds), list(seconds.values()), color="#4477aa")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(f"seconds, {sum(seconds.values()):.1f} in all")
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
