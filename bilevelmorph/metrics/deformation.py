"""Properties of displacement fields."""

from __future__ import annotations

import numpy as np

from bilevelmorph.devices import using_xla


def jacobian_determinant(displacement: np.ndarray) -> np.ndarray:
    """`ops.jacobian_determinant` of one array, in float64.

    Args:
        displacement: ``[*S, N]`` voxels.

    Returns:
        ``[*S]``.

    >>> float(jacobian_determinant(np.zeros([4, 4, 2])).min())
    1.0
    """
    import tensorflow as tf

    from bilevelmorph.ops.derivatives import jacobian_determinant as of_tensors

    with using_xla("off"):  # compiling for every new size takes longer
        return of_tensors(tf.constant(displacement[None], tf.float64)).numpy()[0]


def folding_percent(displacement: np.ndarray) -> float:
    """Percentage of voxels whose Jacobian determinant is not positive.

    >>> folding_percent(np.zeros([4, 4, 2]))
    0.0
    """
    return float(100 * (jacobian_determinant(displacement) <= 0).mean())


def log_jacobian_deviation(displacement: np.ndarray) -> float:
    """Standard deviation of the log Jacobian determinant, the determinant clipped to 1e-9 from below.

    >>> log_jacobian_deviation(np.zeros([4, 4, 2]))
    0.0
    """
    return float(np.log(np.clip(jacobian_determinant(displacement), 1e-9, 1e9)).std())
