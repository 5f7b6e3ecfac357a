"""A figure of a registration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bilevelmorph.io.atomic import atomic_path
from bilevelmorph.metrics.deformation import jacobian_determinant

_COLUMNS = ("moving", "fixed", "moved", "difference before", "difference after", "deformation")


def registration_figure(
    path: str | Path,
    moving: np.ndarray,
    fixed: np.ndarray,
    moved: np.ndarray,
    displacement: np.ndarray,
    *,
    like_fixed: tuple[np.ndarray, np.ndarray] | None = None,
    title: str = "",
) -> None:
    """Draw moving, fixed and moved image, differences and deformed grid, one row per viewing direction.

    Args:
        path: PNG file to write.
        moving: ``[*S]`` on the fixed grid, before registration, in [0, 1].
        fixed, moved: ``[*S]`` in [0, 1].
        displacement: ``[*S, N]`` voxels, drawn as a deformed grid over the
            Jacobian determinant (blue: contraction, red: expansion).
        like_fixed: `moving` and `moved` in the contrast of `fixed`, for the
            differences, if the contrasts differ.
        title: Title of the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    views = [2, 1, 0] if fixed.ndim == 3 else [None]
    heights = [s[1] / s[0] for s in (_slice(fixed, v, fixed).shape for v in views)]
    size = (2.6 * len(_COLUMNS), 2.6 * sum(heights) + 0.3 * len(views) + 0.4 * bool(title))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    determinant = jacobian_determinant(displacement)
    axes = figure.subplots(len(views), len(_COLUMNS), squeeze=False, height_ratios=heights)
    before, after = like_fixed or (moving, moved)
    for row, view in zip(axes, views, strict=True):
        slices = [_slice(x, view, fixed) for x in (moving, fixed, moved)]
        apart = [np.abs(_slice(x, view, fixed) - slices[1]) for x in (before, after)]
        pictures = [*slices, *apart]
        for axis, name, picture in zip(row, _COLUMNS, pictures, strict=False):
            shades = "magma" if "difference" in name else "gray"
            axis.imshow(picture.T, cmap=shades, origin="lower", vmin=0, vmax=1 if shades == "gray" else 0.7)
            axis.set_title(name, fontsize=10)
        _draw_grid(row[-1], _slice(determinant, view, fixed), _in_plane(displacement, view, fixed))
        row[-1].set_title("deformation", fontsize=10)
        for axis in row:
            axis.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=11)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _middle(fixed: np.ndarray, view: int) -> int:
    """Index of the slice through the centre of the foreground."""
    profile = (fixed > 0.1).sum(tuple(a for a in range(fixed.ndim) if a != view))
    if not profile.any():
        return fixed.shape[view] // 2
    return int(np.round((profile * np.arange(len(profile))).sum() / profile.sum()))


def _slice(data: np.ndarray, view: int | None, fixed: np.ndarray) -> np.ndarray:
    return data if view is None else np.take(data, _middle(fixed, view), axis=view)


def _in_plane(displacement: np.ndarray, view: int | None, fixed: np.ndarray) -> np.ndarray:
    if view is None:
        return displacement
    keep = [c for c in range(3) if c != view]
    return _slice(displacement, view, fixed)[..., keep]


def _draw_grid(axis: Any, determinant: np.ndarray, field: np.ndarray) -> None:
    axis.imshow(determinant.T, cmap="coolwarm", origin="lower", vmin=0, vmax=2, alpha=0.8)
    step = max(3, min(determinant.shape) // 24)
    rows, columns = np.meshgrid(*[np.arange(n) for n in determinant.shape], indexing="ij")
    x, y = rows + field[..., 0], columns + field[..., 1]
    for i in range(0, determinant.shape[0], step):
        axis.plot(x[i], y[i], color="black", linewidth=0.5)
    for j in range(0, determinant.shape[1], step):
        axis.plot(x[:, j], y[:, j], color="black", linewidth=0.5)
    axis.set_xlim(-0.5, determinant.shape[0] - 0.5)
    axis.set_ylim(-0.5, determinant.shape[1] - 0.5)
    axis.set_aspect("equal")
