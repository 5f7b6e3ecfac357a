"""`BlockCorrelation` has the right derivatives, and sees through contrast; `descend` finds its minimum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bilevelmorph.data.volume import Volume
from bilevelmorph.registration.block_correlation import BlockCorrelation
from bilevelmorph.registration.linear_descent import descend

CENTRE, RADIUS = np.array([11.0, 9.0, 10.0]), 8.0
GRID = np.array([[0, -1.1, 0, 21.0], [0.9, 0.1, 0, 0.5], [0, 0, 1.2, -1.0], [0, 0, 0, 1]])


def scan(seed, shape=(24, 22, 20)):
    data = gaussian_filter(np.random.default_rng(seed).random(shape), 2)
    return ((data - data.min()) / np.ptp(data)).astype(np.float32)


def start(shift=(0.3, -0.2, 0.4)):
    """Near the identity, with most of the image inside."""
    return np.column_stack([np.eye(3) * RADIUS, CENTRE + shift])


def correlation(*images):
    return BlockCorrelation(*images, centre=CENTRE, radius=RADIUS)


def inner(volume):
    """Without the voxels at the edges, so that other images cover all of it."""
    shifted = volume.affine.copy()
    shifted[:3, 3] += volume.affine[:3, :3] @ (4, 4, 4)
    return Volume(volume.data[4:-4, 4:-4, 4:-4], shifted)


@pytest.fixture
def images():
    return Volume(scan(0), GRID), Volume(0.7 * scan(0) + 0.3 * scan(1), GRID)


def test_gradient_is_that_of_central_differences(images):
    similarity, matrix, h = correlation(inner(images[0]), images[1]), start(), 1e-2
    found = similarity(matrix)
    differences = []
    for step in np.eye(12).reshape(12, 3, 4) * h:
        differences.append((similarity(matrix + step).value - similarity(matrix - step).value) / (2 * h))
    np.testing.assert_allclose(found.gradient, differences, atol=0.02 * np.abs(differences).max())


def test_gradient_with_masks(images, rng):
    """Weights make no difference to where the derivatives come from."""
    fixed, moving = inner(images[0]), images[1]
    weight = gaussian_filter(rng.random(fixed.shape), 2)
    similarity, matrix, h = correlation(fixed, moving, weight / weight.max()), start(), 1e-2
    along = similarity(matrix).gradient
    step = -along.reshape(3, 4) / np.linalg.norm(along) * h
    slope = (similarity(matrix + step).value - similarity(matrix - step).value) / (2 * h)
    assert slope == pytest.approx(-np.linalg.norm(along), rel=0.05)


def test_curvature_is_symmetric_and_never_negative(images):
    curvature = correlation(*images)(start()).curvature
    np.testing.assert_allclose(curvature, curvature.T, atol=1e-9 * np.abs(curvature).max())
    values = np.linalg.eigvalsh(curvature)
    assert values.min() > -1e-6 * values.max()


def test_value_is_the_mean_of_squared_correlations(images):
    """Against NumPy, on one grid, where nothing is interpolated."""
    fixed, moving = images
    expected = []
    for corner in np.ndindex(6, 5, 5):
        block = tuple(slice(4 * c, 4 * c + 4) for c in corner)
        expected.append(1 - np.corrcoef(fixed.data[block].ravel(), moving.data[block].ravel())[0, 1] ** 2)
    found = correlation(fixed, moving)(start((0, 0, 0)))
    assert found.value == pytest.approx(np.mean(expected), abs=5e-3)


@pytest.mark.parametrize("contrast", [lambda x: x, lambda x: 1 - x, lambda x: 0.2 + 0.7 * x])
def test_contrast_does_not_matter(images, contrast):
    fixed, _ = images
    other = fixed.with_data(contrast(fixed.data))
    assert correlation(fixed, other)(start((0, 0, 0))).value < 2e-3


def test_images_apart_do_not_overlap(images):
    assert correlation(*images)(start((500, 0, 0))).value == np.inf


def test_flat_images_say_nothing(images):
    fixed, moving = images
    assert correlation(fixed.with_data(np.zeros_like(fixed.data)), moving)(start()).value == np.inf
    assert correlation(fixed, moving.with_data(np.zeros_like(fixed.data)))(start()).value == pytest.approx(1)


def test_weights_leave_out_what_disturbs(images):
    fixed, _ = images
    disturbed = fixed.data.copy()
    disturbed[:8] = scan(5)[:8]
    weight = np.ones(fixed.shape)
    weight[:8] = 0
    moving = fixed.with_data(disturbed)
    whole = correlation(fixed, moving)(start((0, 0, 0))).value
    for weights in ((weight, None), (None, weight), (weight, weight)):
        assert correlation(fixed, moving, *weights)(start((0, 0, 0))).value < 2e-3 < whole


@pytest.mark.parametrize("rigid", [True, False])
def test_descent_finds_its_way_back(images, rigid):
    fixed, _ = images
    similarity = correlation(fixed, fixed)
    found, mismatch = descend(similarity, start((1, -0.8, 0.6)), rigid, steps=40, gain=1e-7)
    np.testing.assert_allclose(found, start((0, 0, 0)), atol=0.02)
    assert mismatch < 1e-3


def test_rigid_descent_stays_rigid(images):
    found, _ = descend(correlation(*images), start(), rigid=True)
    np.testing.assert_allclose(found[:, :3] @ found[:, :3].T, RADIUS**2 * np.eye(3), atol=1e-9)


def test_descent_never_goes_uphill(images):
    similarity = correlation(*images)
    values = [descend(similarity, start(), rigid=False, steps=k)[1] for k in range(6)]
    assert values == sorted(values, reverse=True)
