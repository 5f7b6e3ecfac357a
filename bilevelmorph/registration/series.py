"""Registration of the frames of a series with one fixed image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from bilevelmorph.data.geometry import warp_volume
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import one_of
from bilevelmorph.registration.result import Registration

# Register every frame, or one image whose displacement moves all of them.
FRAMES = ("each", "first", "mean")


def reference_of(frames: Sequence[Volume], which: str) -> Volume:
    """The frame that stands for a series: the first one, or for ``"mean"`` the mean of all.

    Args:
        frames: Frames of one grid.
        which: One of `FRAMES`.

    >>> frames = [Volume(np.full((2, 2), value), np.eye(4)) for value in (1.0, 3.0)]
    >>> [float(reference_of(frames, which).data[0, 0]) for which in ("first", "mean")]
    [1.0, 2.0]
    """
    if one_of("frames", which, FRAMES) != "mean":
        return frames[0]
    return frames[0].with_data(np.mean([frame.data for frame in frames], 0, dtype=frames[0].data.dtype))


def register_series(
    register: Callable[[Volume], Registration], frames: Sequence[Volume], which: str
) -> Iterator[tuple[Registration, list[Volume]]]:
    """Register a series.

    Args:
        register: Registers a moving image with the fixed one.
        frames: Frames of one grid.
        which: ``"each"`` for every frame on its own; ``"first"`` or ``"mean"`` for one displacement, of
            this frame or of the mean of all, which moves all of them.

    Yields:
        Every result with the frames that it moved.
    """
    if one_of("frames", which, FRAMES) == "each":
        for frame in frames:
            result = register(frame)
            yield result, [result.moved]
        return
    result = register(reference_of(frames, which))
    grid, fill = result.fixed, result.report["fill"]
    moved = [warp_volume(frame, result.displacement, grid.affine, fill) for frame in frames]
    yield result, [result.moved.with_data(frame.data) for frame in moved]
