"""Properties of displacement fields."""

from __future__ import annotations

import numpy as np

from bilevelmorph.slabs import over_slabs, with_margin


def jacobian_determinant(displacement: np.ndarray) -> np.ndarray:
    """The counterpart of `ops.jacobian_determinant` for one array, computed in its own precision.

    Args:
        displacement: ``[*S, N]`` voxels, N = 1, 2 or 3.

    Returns:
        ``[*S]``: central differences, one-sided at the faces.

    >>> float(jacobian_determinant(np.zeros([4, 4, 2])).min())
    1.0
    """
    displacement = np.asarray(displacement)
    size = len(displacement)

    def of_slab(rows: slice) -> np.ndarray:
        wide, own = with_margin(rows, 1, size)
        return _determinant(displacement[wide])[own]

    return np.concatenate(over_slabs(of_slab, displacement.shape[:-1]))


def _determinant(displacement: np.ndarray) -> np.ndarray:
    n = displacement.shape[-1]
    slopes = [
        [np.gradient(part, axis=axis) + (axis == c) for axis in range(n)]
        for c, part in enumerate(np.ascontiguousarray(np.moveaxis(displacement, -1, 0)))
    ]
    if n == 1:
        return slopes[0][0]
    if n == 2:
        return slopes[0][0] * slopes[1][1] - slopes[0][1] * slopes[1][0]
    (a, b, c), (d, e, f), (g, h, i) = slopes
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def folding_percent(displacement: np.ndarray) -> float:
    """Percentage of voxels whose Jacobian determinant is not positive.

    >>> folding_percent(np.zeros([4, 4, 2]))
    0.0
    """
    return _folded(jacobian_determinant(displacement))


def log_jacobian_deviation(displacement: np.ndarray) -> float:
    """Standard deviation of the log Jacobian determinant, the determinant clipped to 1e-9 from below.

    >>> log_jacobian_deviation(np.zeros([4, 4, 2]))
    0.0
    """
    return _log_deviation(jacobian_determinant(displacement))


def jacobian_measures(displacement: np.ndarray) -> dict[str, float]:
    """`folding_percent` and, as ``log_jacobian_sd``, `log_jacobian_deviation`, from one Jacobian.

    >>> jacobian_measures(np.zeros([4, 4, 2]))
    {'folding_percent': 0.0, 'log_jacobian_sd': 0.0}
    """
    values = jacobian_determinant(displacement)
    return {"folding_percent": _folded(values), "log_jacobian_sd": _log_deviation(values)}


def _folded(jacobian: np.ndarray) -> float:
    return float(100 * (jacobian <= 0).mean())


def _log_deviation(jacobian: np.ndarray) -> float:
    return float(np.log(np.clip(jacobian, 1e-9, 1e9)).std(dtype=np.float64))
