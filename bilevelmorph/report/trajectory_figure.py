"""A figure of loss weights over a bilevel run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bilevelmorph.errors import fail
from bilevelmorph.io.atomic import atomic_path
from bilevelmorph.io.csv import read_rows

_PREFIX = "weight_"


def trajectory_figure(path: str | Path, tables: Mapping[str, str | Path], title: str = "") -> None:
    """Draw one panel with a logarithmic axis per tuned loss weight, and one line per run.

    Args:
        path: PNG file to write.
        tables: `weights.csv` of each run, by the label of the run in the legend.
        title: Title of the figure.

    Raises:
        InputError: No loss weight changes in any of the tables.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    runs = {name: _read(table) for name, table in tables.items()}
    names = list(dict.fromkeys(k for run in runs.values() for k, v in run.items() if _moves(k, v)))
    if not names:
        came = ", ".join(map(str, tables.values()))
        raise fail(came, "no loss weight that changes", "weights.csv of a bilevel run")
    figure = Figure(figsize=(4.2 * len(names), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for label, run in runs.items():
            if name in run:
                axis.plot(run["step"], run[name], label=label, linewidth=1.6)
        axis.set(xlabel="training step", title="weight of " + name.removeprefix(_PREFIX))
        logarithmic(axis)
        axis.grid(alpha=0.3, which="both")
        if len(runs) > 1:
            axis.legend(fontsize=8)
    if title:
        figure.suptitle(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def logarithmic(axis: Any) -> None:
    """Make the y axis logarithmic with plain numbers, also between decades if it spans less than one.

    Args:
        axis: Matplotlib axis with its lines drawn.
    """
    from matplotlib.ticker import NullFormatter

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else NullFormatter())


def _moves(name: str, values: list[float]) -> bool:
    return name.startswith(_PREFIX) and len(set(values)) > 1


def _read(path: str | Path) -> dict[str, list[float]]:
    rows = read_rows(path)
    return {k: [float(r[k]) for r in rows] for k in (rows[0] if rows else ())}
