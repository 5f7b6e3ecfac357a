"""Measures against brute force and values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from bilevelmorph.data.geometry import voxel_positions
from bilevelmorph.errors import InputError
from bilevelmorph.metrics import (
    dice,
    folding_percent,
    hausdorff95,
    jacobian_determinant,
    local_correlation,
    log_jacobian_deviation,
    mean_dice,
    mean_hausdorff95,
)


def linear_field(matrix, shape):
    """The displacement of ``x -> matrix x``."""
    x = voxel_positions(shape).astype(float)
    return x @ np.asarray(matrix, float).T - x


def test_dice_by_hand():
    a = np.array([[0, 1, 1, 2], [0, 1, 1, 2]])
    b = np.array([[0, 1, 1, 1], [0, 3, 0, 2]])
    assert dice(a, b) == pytest.approx({1: 4 / 7, 2: 2 / 3, 3: 0})
    assert mean_dice(a, b) == pytest.approx((4 / 7 + 2 / 3) / 3)
    assert dice(a, b, [2]) == pytest.approx({2: 2 / 3})
    assert mean_dice(a, b, [1, 2]) == pytest.approx((4 / 7 + 2 / 3) / 2)


def test_dice_of_what_is_in_neither_map():
    a, b = np.array([0, 1]), np.array([1, 1])
    found = dice(a, b, [1, 9])
    assert found[1] == pytest.approx(2 / 3)
    assert np.isnan(found[9])
    assert mean_dice(a, b, [1, 9]) == pytest.approx(2 / 3)
    assert np.isnan(mean_dice(a * 0, b * 0))
    assert dice(a * 0, b * 0) == {}


def test_dice_of_other_integer_types(rng):
    a, b = rng.integers(0, 4, (2, 6, 7, 8))
    assert dice(a.astype(np.uint8), b.astype(np.int16)) == dice(a, b)


def test_dice_needs_one_shape():
    with pytest.raises(InputError, match="label maps"):
        dice(np.zeros((2, 3), int), np.zeros((3, 2), int))


def surface(mask):
    """Voxels of a mask with a neighbour (along an axis) outside it, or at the edge of the grid."""
    padded = np.pad(mask, 1)
    inner = padded.copy()
    for axis in range(mask.ndim):
        for step in (-1, 1):
            inner &= np.roll(padded, step, axis)
    return np.argwhere(padded & ~inner) - 1


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 2, 1.5)])
def test_hausdorff_by_brute_force(rng, spacing):
    a, b = rng.random((2, 9, 8, 7)) > 0.6
    points = [surface(m) * np.array(spacing) for m in (a, b)]
    between = cdist(*points)
    expected = np.percentile(np.concatenate([between.min(1), between.min(0)]), 95)
    assert hausdorff95(a, b, spacing) == pytest.approx(expected)


def test_hausdorff_by_hand():
    a, b = np.zeros((2, 20, 20), bool)
    a[5:10, 5:10] = True
    b[5:10, 8:13] = True
    assert hausdorff95(a, a, (1, 1)) == 0
    # Every row of either surface is 3 columns from the other's nearest end, or nearer.
    assert hausdorff95(a, b, (1, 1)) == 3
    assert hausdorff95(a, b, (1, 0.5)) == 1.5
    assert hausdorff95(a, b, (7, 0.5)) == 1.5
    assert hausdorff95(np.roll(a, 7, 0), np.roll(b, 7, 0), (1, 1)) == 3


def test_hausdorff_of_nothing():
    a, b = np.zeros((2, 5, 5), bool)
    b[2, 2] = True
    assert np.isnan(hausdorff95(a, b, (1, 1)))
    assert np.isnan(hausdorff95(b, a, (1, 1)))
    assert np.isnan(hausdorff95(a, a, (1, 1)))


def test_mean_hausdorff_leaves_out_what_is_missing():
    a, b = np.zeros((2, 9, 9), int)
    a[1, 1], b[3, 1] = 1, 1
    a[5, 5], b[5, 6] = 2, 2
    a[8, 8] = 3
    assert mean_hausdorff95(a, b, (1, 1), [1, 2, 3]) == pytest.approx(1.5)
    assert mean_hausdorff95(a, b, (2, 1), [1]) == 4
    assert np.isnan(mean_hausdorff95(a, b, (1, 1), [3]))


@pytest.mark.parametrize(
    "matrix",
    [
        [[1.2, 0.1], [-0.3, 0.8]],
        [[-1, 0], [0, 1]],
        [[1.1, 0.2, 0], [0, 0.9, 0.3], [0.1, 0, 1.3]],
    ],
)
def test_jacobian_of_a_linear_map(matrix):
    field = linear_field(matrix, (5, 6, 7)[: len(matrix)])
    determinant = np.linalg.det(matrix)
    np.testing.assert_allclose(jacobian_determinant(field), determinant, rtol=1e-9)
    assert folding_percent(field) == (100 if determinant <= 0 else 0)
    assert log_jacobian_deviation(field) == pytest.approx(0, abs=1e-9)


def test_folding_by_hand():
    """Along one axis, central differences of x + u(x) are negative at two places of ten."""
    field = np.zeros((10, 4, 2))
    # x + u: 0 1 2 3 4 2 1.5 7 8 9
    field[5, :, 0], field[6, :, 0] = -3, -4.5
    slopes = np.gradient(np.arange(10) + field[:, 0, 0])
    assert (slopes <= 0).sum() == 2
    assert folding_percent(field) == pytest.approx(20)


def test_log_jacobian_by_hand():
    field = np.zeros((9, 3, 2))
    x = np.arange(9.0)
    field[..., 0] = (np.where(x <= 4, 2 * x, 8 + 0.5 * (x - 4)) - x)[:, None]
    determinants = np.array([2] * 4 + [1.25] + [0.5] * 4)
    np.testing.assert_allclose(jacobian_determinant(field), np.repeat(determinants[:, None], 3, 1))
    assert log_jacobian_deviation(field) == pytest.approx(np.log(determinants).std())


def test_log_jacobian_is_clipped_where_it_folds():
    field = linear_field([[-1, 0], [0, 1]], (5, 5))
    field[0] = 0
    assert np.isfinite(log_jacobian_deviation(field))


def correlation_by_brute_force(a, b, width):
    """Windows with repeated edges, one voxel at a time."""
    half = width // 2
    padded = [np.pad(x, half, mode="edge") for x in (a, b)]
    out = np.zeros(a.shape)
    for index in np.ndindex(*a.shape):
        window = tuple(slice(i, i + width) for i in index)
        x, y = (p[window].ravel() for p in padded)
        covariance = np.cov(x, y, bias=True)
        out[index] = covariance[0, 1] ** 2 / (covariance[0, 0] * covariance[1, 1] + 1e-8)
    return out


@pytest.mark.parametrize(("shape", "width"), [((9, 8), 5), ((6, 7, 5), 3)])
def test_local_correlation_by_brute_force(rng, shape, width):
    a, b = rng.random((2, *shape))
    expected = correlation_by_brute_force(a, b, width)
    assert local_correlation(a, b, width=width) == pytest.approx(expected.mean(), rel=1e-6)
    mask = rng.random(shape) > 0.5
    assert local_correlation(a, b, mask, width) == pytest.approx(expected[mask].mean(), rel=1e-6)
    assert local_correlation(a, b, mask.astype(np.uint8), width) == pytest.approx(expected[mask].mean())


def test_local_correlation_looks_where_the_first_image_varies(rng):
    a = np.zeros((40, 10))
    a[:10] = rng.random((10, 10))
    assert local_correlation(a, a, width=3) == pytest.approx(1, abs=1e-3)
    assert local_correlation(a, -2 * a + 5, width=3) == pytest.approx(1, abs=1e-3)
    assert local_correlation(a * 0, a) == 0
