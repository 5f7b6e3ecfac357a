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
    return float(np.log(np.clip(jacobian, 1e-9, 1e9)).std())
