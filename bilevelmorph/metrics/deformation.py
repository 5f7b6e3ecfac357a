"""Properties of displacement fields, in NumPy."""

from __future__ import annotations

import numpy as np


def jacobian_determinant(displacement: np.ndarray) -> np.ndarray:
    """Determinant of the Jacobian of ``x -> x + u(x)``, central differences.

    Args:
        displacement: ``[*S, N]`` voxels.

    Returns:
        ``[*S]``.

    >>> float(jacobian_determinant(np.zeros([4, 4, 2])).min())
    1.0
    """
    n = displacement.shape[-1]
    rows = [
        np.stack(np.gradient(displacement[..., c].astype(float), axis=tuple(range(n))), -1) for c in range(n)
    ]
    return np.linalg.det(np.stack(rows, -2) + np.eye(n))


def folding_percent(displacement: np.ndarray) -> float:
    """Percentage of voxels whose Jacobian determinant is not positive.

    >>> folding_percent(np.zeros([4, 4, 2]))
    0.0
    """
    return float(100 * (jacobian_determinant(displacement) <= 0).mean())


def log_jacobian_deviation(displacement: np.ndarray) -> float:
    """Standard deviation of the logarithm of the determinant, clipped from below at 1e-9.

    >>> log_jacobian_deviation(np.zeros([4, 4, 2]))
    0.0
    """
    return float(np.log(np.clip(jacobian_determinant(displacement), 1e-9, 1e9)).std())
