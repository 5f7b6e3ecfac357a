"""Figures of a benchmark: overlap by structure, speed against accuracy, and registrations side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bilevelmorph.io.atomic import atomic_path

_LABELS_A_ROW = 14
_GRID_STEP = 5  # voxels between the lines of a deformed grid


def box_figure(path: Path, scores: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw the overlap of every structure, one box for each method.

    Args:
        path: PNG file to write; an SVG is written beside it.
        scores: Dice over the pairs by method, by structure.
    """
    names = list(scores)
    groups = [names[i : i + _LABELS_A_ROW] for i in range(0, len(names), _LABELS_A_ROW)]
    methods = list(dict.fromkeys(method for own in scores.values() for method in own))
    wide = max(6.0, min(2 + 0.16 * len(methods) * min(_LABELS_A_ROW, len(names)), 18.0))
    figure = _figure(wide, 0.8 + 2.6 * len(groups))
    shades = _colours(len(methods))
    for axis, group in zip(figure.subplots(len(groups), 1, squeeze=False)[:, 0], groups, strict=True):
        for k, method in enumerate(methods):
            at = [i + (k + 0.5) / len(methods) * 0.84 - 0.42 for i in range(len(group))]
            values = [[v for v in scores[name].get(method, ()) if not np.isnan(v)] for name in group]
            axis.boxplot(
                values,
                positions=at,
                widths=0.7 / len(methods),
                patch_artist=True,
                boxprops={"facecolor": shades[k], "linewidth": 0.6},
                medianprops={"color": "black"},
                flierprops={"markersize": 2},
                whiskerprops={"linewidth": 0.6},
                capprops={"linewidth": 0.6},
            )
        axis.set_xticks(range(len(group)), group, fontsize=8, rotation=0 if len(names) < 8 else 40)
        axis.set_xlim(-0.6, len(group) - 0.4)
        axis.set_ylabel("Dice")
        axis.grid(axis="y", linewidth=0.3)
    marks = [_patch(shade) for shade in shades]
    figure.legend(
        marks,
        methods,
        loc="outside upper center",
        ncols=max(1, min(len(methods), int(wide / 1.6))),
        fontsize=8,
    )
    _save(figure, path)


def speed_figure(path: Path, summary: Sequence[Mapping[str, Any]], score: str, label: str) -> None:
    """Draw each method's mean score over its median time.

    Args:
        path: PNG file to write; an SVG is written beside it.
        summary: Rows of the table.
        score: The key of the score.
        label: Its name.
    """
    figure = _figure(7, 4.5)
    axis = figure.subplots()
    shown = [row for row in summary if score in row and row.get("seconds", 0) > 1e-3]
    names = []
    for row, shade in zip(shown, _colours(len(shown)), strict=True):
        error = row[f"{score}_sd"] / max(1, row["pairs"]) ** 0.5
        place = row["seconds"], row[score]
        axis.errorbar(*place, error, fmt="o", color=shade, capsize=2)
        names.append(axis.annotate(row["method"], place, (6, 4), textcoords="offset points", fontsize=8))
    axis.set_xscale("log")
    for ticks in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
        ticks("{x:g}")
    axis.tick_params(axis="x", which="minor", labelsize=7)
    axis.set_xlabel("seconds a pair, median")
    axis.set_ylabel(f"{label}, mean and its standard error")
    axis.margins(0.15)
    axis.grid(linewidth=0.3)
    _apart(figure, names)
    _save(figure, path)


def _apart(figure: Any, names: Sequence[Any]) -> None:
    """Move names down that would lie on one another."""
    figure.draw_without_rendering()
    placed: list[Any] = []
    for name in sorted(names, key=lambda n: -n.xy[1]):
        while any(name.get_window_extent().overlaps(box) for box in placed):
            x, y = name.get_position()
            name.set_position((x, y - 2))
        placed.append(name.get_window_extent())


def panel_figure(path: Path, looks: Mapping[str, Mapping[str, np.ndarray]], title: str) -> None:
    """Draw one slice of a pair as every method registered it.

    Args:
        path: PNG file to write; an SVG is written beside it.
        looks: For each method ``fixed``, ``moving``, ``moved`` ``[X, Y]`` uint8, ``jacobian`` ``[X, Y]``,
            ``grid`` ``[X, Y, 2]`` voxels, and perhaps ``fixed_labels`` and ``moved_labels``.
        title: Title of the figure.
    """
    columns = ("moved", "difference", "Jacobian", "grid")
    first = next(iter(looks.values()))
    high = 2.3 * first["fixed"].shape[1] / first["fixed"].shape[0]
    figure = _figure(2.5 * len(columns), 0.5 + high * (len(looks) + 1))
    axes = figure.subplots(len(looks) + 1, len(columns), squeeze=False)
    fixed = first["fixed"]
    for axis, name, data in zip(axes[0], ("fixed", "moving"), (fixed, first["moving"]), strict=False):
        _grey(axis, data)
        axis.set_title(name, fontsize=9)
    _contours(axes[0][0], first.get("fixed_labels"), "tab:green")
    _difference(axes[0][2], first["moving"], fixed)
    axes[0][2].set_title("difference before", fontsize=9)
    axes[0][3].set_visible(False)
    for row, (method, look) in zip(axes[1:], looks.items(), strict=True):
        _grey(row[0], look["moved"])
        _contours(row[0], look.get("fixed_labels"), "tab:green")
        _contours(row[0], look.get("moved_labels"), "tab:red")
        _difference(row[1], look["moved"], fixed)
        row[2].imshow(look["jacobian"].astype(float).T, cmap="coolwarm", origin="lower", vmin=0, vmax=2)
        _grid(row[3], look["grid"].astype(float))
        for axis, name in zip(row, (f"{method}, moved", *columns[1:]), strict=True):
            axis.set_title(name, fontsize=9)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def evolution_figure(path: Path, looks: Mapping[str, Mapping[str, np.ndarray]], title: str) -> None:
    """Draw one slice of a pair after each step of its registration.

    Args:
        path: PNG file to write; an SVG is written beside it.
        looks: For each step ``fixed`` and ``moved``, ``jacobian`` and ``grid``, as in `panel_figure`.
        title: Title of the figure.
    """
    names = ("moved", "difference", "Jacobian", "grid")
    shape = next(iter(looks.values()))["fixed"].shape
    figure = _figure(2.0 * len(looks), 0.6 + 2.0 * shape[1] / shape[0] * len(names))
    axes = figure.subplots(len(names), len(looks), squeeze=False)
    for column, (step, look) in zip(axes.T, looks.items(), strict=True):
        _grey(column[0], look["moved"])
        _difference(column[1], look["moved"], look["fixed"])
        column[2].imshow(look["jacobian"].astype(float).T, cmap="coolwarm", origin="lower", vmin=0, vmax=2)
        _grid(column[3], look["grid"].astype(float))
        column[0].set_title(step, fontsize=9)
        for axis in column:
            axis.set_xticks([])
            axis.set_yticks([])
    for axis, name in zip(axes[:, 0], names, strict=True):
        axis.set_ylabel(name, fontsize=9)
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def _figure(wide: float, high: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, high), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    for ending in ("png", "svg"):
        with atomic_path(path.with_suffix(f".{ending}")) as temporary:
            figure.savefig(
                temporary, dpi=110, format=ending, metadata={"Date": None} if ending == "svg" else None
            )


def _colours(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["tab20"](i % 20) for i in range(count)]


def _patch(shade: Any) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=shade)


def _grey(axis: Any, data: np.ndarray) -> None:
    axis.imshow(data.T, cmap="gray", origin="lower", vmin=0, vmax=255)


def _difference(axis: Any, data: np.ndarray, fixed: np.ndarray) -> None:
    apart = data.astype(float) - fixed
    axis.imshow(apart.T, cmap="coolwarm", origin="lower", vmin=-160, vmax=160)


def _contours(axis: Any, labels: np.ndarray | None, colour: str) -> None:
    if labels is None:
        return
    for label in np.unique(labels[labels > 0]):
        axis.contour((labels == label).T.astype(float), [0.5], colors=[colour], linewidths=0.6)


def _grid(axis: Any, displacement: np.ndarray) -> None:
    """Lines of a regular grid, where the displacement takes them."""
    where = np.stack(np.meshgrid(*map(np.arange, displacement.shape[:2]), indexing="ij"), -1) + displacement
    for lines in (where[::_GRID_STEP], where[:, ::_GRID_STEP].swapaxes(0, 1)):
        for line in lines:
            axis.plot(line[:, 0], line[:, 1], color="black", linewidth=0.4)
    axis.set_aspect("equal")
    axis.set_xlim(-0.5, displacement.shape[0] - 0.5)
    axis.set_ylim(-0.5, displacement.shape[1] - 0.5)
