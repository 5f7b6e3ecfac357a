"""A figure of tuning runs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

from bilevelmorph.io.atomic import atomic_path
from bilevelmorph.io.csv import read_rows


def tuning_figure(path: str | Path, tables: Mapping[str, str | Path], title: str = "") -> None:
    """Draw the best score so far against the time, one line per run.

    Args:
        path: PNG file to write.
        tables: CSV with the columns ``seconds`` and ``score``, by the name of the run in the legend.
        title: Title of the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for name, table in tables.items():
        rows = [(float(r["seconds"]), float(r["score"])) for r in read_rows(table)]
        seconds, scores = zip(*rows, strict=True)
        (line,) = axis.plot(seconds, list(accumulate(scores, max)), drawstyle="steps-post", label=name)
        axis.plot(seconds, scores, ".", color=line.get_color(), alpha=0.35)
    lowest = min(float(read_rows(table)[0]["score"]) for table in tables.values())
    top = axis.get_ylim()[1]
    axis.set_ylim(bottom=lowest - 0.5 * (top - lowest))
    axis.set(xlabel="seconds", ylabel="score of the pairs", title=title)
    axis.grid(alpha=0.3)
    if len(tables) > 1:
        axis.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
