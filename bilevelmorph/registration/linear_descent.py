"""Levenberg-Marquardt descent on rigid and affine maps."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from bilevelmorph.registration.block_correlation import BlockCorrelation

# Where the descent begins between Gauss-Newton steps (0) and short ones, and its factor from step to step.
_DAMPING = 1e-2
_FACTOR = 8.0
# Damping beyond which no step is better.
_STUCK = 1e4


def descend(
    similarity: BlockCorrelation,
    matrix: np.ndarray,
    rigid: bool,
    ndims: int = 3,
    steps: int = 20,
    gain: float = 1e-4,
) -> tuple[np.ndarray, float]:
    """Refine a map by damped Gauss-Newton steps, each of which is taken only where it helps.

    Args:
        similarity: How images agree under a map.
        matrix: ``[3, 4]`` map to start from, see `BlockCorrelation`.
        rigid: Turn and shift only.
        ndims: 2 for maps that leave the third axis alone.
        steps: Number of steps at most.
        gain: Relative gain at which it ends.

    Returns:
        The map and its mismatch, infinite where the images do not overlap.

    Reference: D. Marquardt, An algorithm for least-squares estimation of nonlinear parameters, J. SIAM 1963.

    >>> from scipy.ndimage import gaussian_filter
    >>> from bilevelmorph.data.volume import Volume
    >>> scan = gaussian_filter(np.random.default_rng(0).random((24, 24, 24)), 2)
    >>> scan = (scan - scan.min()) / np.ptp(scan)
    >>> fixed, moving = Volume(scan[:-1], np.eye(4)), Volume(scan[1:], np.eye(4))
    >>> similarity = BlockCorrelation(fixed, moving, centre=np.full(3, 11.5), radius=10.0)
    >>> start = np.column_stack([np.eye(3) * 10, np.full(3, 11.5)])
    >>> found, mismatch = descend(similarity, start, rigid=True)
    >>> (found - start)[:, 3].round().astype(int).tolist()
    [-1, 0, 0]
    """
    now, damping = similarity(matrix), _DAMPING
    for _ in range(steps):
        if not np.isfinite(now.value):
            break
        directions = _directions(matrix, rigid, ndims)
        gradient = directions.T @ now.gradient
        curvature = directions.T @ now.curvature @ directions
        scale = np.diag(curvature) + 1e-12 * np.trace(curvature) + 1e-30
        while damping < _STUCK:
            step = -np.linalg.solve(curvature + np.diag(damping * scale), gradient)
            candidate = _moved(matrix, directions, step, rigid)
            new = similarity(candidate)
            if new.value < now.value:
                break
            damping *= _FACTOR
        else:
            break
        gained = now.value - new.value
        matrix, now, damping = candidate, new, max(damping / _FACTOR, _DAMPING / 100)
        if gained < gain * now.value:
            break
    return matrix, now.value


def _directions(matrix: np.ndarray, rigid: bool, ndims: int) -> np.ndarray:
    """``[12, K]``: how the numbers of the map change with those of a step."""
    axes = np.eye(3)[:ndims]
    shifts = [np.column_stack([np.zeros((3, 3)), axis]) for axis in axes]
    if rigid:
        turns = _turns(ndims)
        linear = [np.column_stack([np.cross(axis, matrix[:, :3].T).T, np.zeros(3)]) for axis in turns]
    else:
        linear = [np.column_stack([np.outer(a, b), np.zeros(3)]) for a in axes for b in axes]
    return np.stack([change.ravel() for change in (*linear, *shifts)], 1)


def _turns(ndims: int) -> np.ndarray:
    """The axes of turns."""
    return np.eye(3) if ndims == 3 else np.eye(3)[2:]


def _moved(matrix: np.ndarray, directions: np.ndarray, step: np.ndarray, rigid: bool) -> np.ndarray:
    if not rigid:
        return matrix + (directions @ step).reshape(3, 4)
    ndims = 3 if len(step) == 6 else 2
    turns = _turns(ndims)
    turn = Rotation.from_rotvec(step[: len(turns)] @ turns).as_matrix()
    shift = step[len(turns) :] @ np.eye(3)[:ndims]
    return np.column_stack([turn @ matrix[:, :3], matrix[:, 3] + shift])
