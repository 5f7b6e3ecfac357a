"""Random deformations, shapes, contrasts, and the synthetic pairs made of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial import cKDTree

from bilevelmorph.data.geometry import voxel_positions
from bilevelmorph.datasets.phantoms import (
    corrupt,
    fold,
    random_contrast,
    random_displacement,
    random_shapes,
    smooth_noise,
)
from bilevelmorph.datasets.synthetic import SyntheticPairDataset
from bilevelmorph.metrics import jacobian_determinant, local_correlation
from bilevelmorph.ops.warping import compose

SEED, OTHER = tf.constant([3, 7]), tf.constant([3, 8])
LEVELS = tf.reshape(tf.linspace(0.0, 5.0, 256), [1, 16, 16, 1])

MAKERS = {
    "smooth_noise": lambda seed: smooth_noise([16, 15], 4, 2, seed),
    "random_displacement": lambda seed: random_displacement([16, 15], 2.0, 8, seed),
    "random_shapes": lambda seed: random_shapes([16, 15], 5, 4, seed),
    "random_contrast": lambda seed: random_contrast(LEVELS, 6, seed),
    "corrupt": lambda seed: corrupt(LEVELS / 5, seed),
    "fold": lambda seed: fold(seed, 4),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_seed_decides_everything(make):
    np.testing.assert_array_equal(make(SEED), make(SEED))
    assert (make(SEED).numpy() != make(OTHER).numpy()).any()


@pytest.mark.parametrize("shape", [(48, 44), (31, 40), (24, 28, 26), (25, 24, 23)])
def test_displacements_are_diffeomorphic(shape):
    field = random_displacement(shape, 4.0, 20, SEED).numpy()[0]
    assert field.shape == (*shape, len(shape))
    assert 1 < np.linalg.norm(field, axis=-1).max() < 20
    assert jacobian_determinant(field).min() > 0


@pytest.mark.parametrize("shape", [(48, 44), (31, 40), (28, 32, 30)])
def test_negated_amplitude_is_the_inverse(shape):
    there, back = (random_displacement(shape, a, 24, SEED) for a in (3.0, -3.0))
    rest = np.linalg.norm(compose(there, back).numpy()[0], axis=-1)
    size = np.linalg.norm(there.numpy()[0], axis=-1)
    inside = (slice(6, -6),) * len(shape)
    assert size[inside].mean() > 0.5
    assert rest[inside].max() < 0.1 * size.max()
    assert rest[inside].mean() < 0.03 * size[inside].mean()


def test_amplitude_scales_the_displacement():
    small, large = (random_displacement([32, 32], a, 16, SEED).numpy() for a in (0.01, 0.02))
    np.testing.assert_allclose(large, 2 * small, atol=1e-3)
    np.testing.assert_array_equal(random_displacement([32, 32], 0.0, 16, SEED), 0)


@pytest.mark.parametrize("spacing", [3, 8])
def test_shapes_are_blobs_of_the_size_asked_for(spacing):
    labels = random_shapes([64, 64], 6, spacing, SEED).numpy()[0, ..., 0]
    assert set(np.unique(labels)) <= set(range(6))
    assert len(np.unique(labels)) >= 4
    change = (labels[1:] != labels[:-1]).mean()
    assert 0.3 < change * spacing < 1.5


@pytest.mark.parametrize("number", range(6))
def test_ordered_contrast_is_monotone(number):
    seed = tf.constant([number, 1])
    grey = random_contrast(LEVELS, 6, seed, ordered=True).numpy().ravel()
    assert (np.diff(grey) > 0).all()
    assert (grey.min(), grey.max()) == (0, 1)


def test_unordered_contrast_is_not_and_stays_in_range():
    grey = np.stack([random_contrast(LEVELS, 6, tf.constant([i, 1])).numpy().ravel() for i in range(20)])
    assert grey.min() >= 0
    assert grey.max() <= 1
    assert ((np.diff(grey) < 0).any(1) & (np.diff(grey) > 0).any(1)).mean() > 0.9


def test_contrast_between_levels_is_interpolated():
    grey = random_contrast(tf.reshape([1.0, 2.0, 1.25], [1, 3, 1]), 4, SEED).numpy().ravel()
    assert grey[2] == pytest.approx(0.75 * grey[0] + 0.25 * grey[1])


@pytest.mark.parametrize("image", [LEVELS / 5, tf.zeros([1, 16, 16, 1]), tf.ones([1, 9, 8, 7, 1])])
def test_corrupt_stays_in_range(image):
    for number in range(5):
        out = corrupt(image, tf.constant([number, 0])).numpy()
        assert out.shape == image.shape
        assert np.isfinite(out).all()
        assert out.min() >= 0
        assert out.max() <= 1


def test_corrupt_keeps_the_image_recognisable():
    out = corrupt(LEVELS / 5, SEED).numpy()
    assert 0.8 < np.corrcoef(out.ravel(), LEVELS.numpy().ravel())[0, 1] < 0.9999


SHAPE = (24, 26, 28)


@pytest.fixture(scope="module")
def source():
    pytest.importorskip("nilearn")
    return SyntheticPairDataset(SHAPE, seed=2, amplitude=5.0)


def choice(seed):
    """What `pair` draws first: shapes or brain, size, same contrast, stripped, strength, ordered."""
    return tf.random.stateless_uniform([6], fold(seed, 0)).numpy()


def seeds(brain):
    """Seeds of pairs of one contrast, of blobs or of the template, with a visible deformation."""
    found = []
    for number in range(500):
        seed = tf.constant([11, number])
        drawn = choice(seed)
        if (drawn[0] >= 0.5) == brain and drawn[2] < 0.5 and drawn[4] > 0.4 and 0.3 < drawn[1] < 0.9:
            found.append(seed)
    return found[:3]


def test_synthetic_pair(source):
    for number in range(3):
        moving, fixed, moving_at, fixed_at = (x.numpy() for x in source.pair(tf.constant([5, number])))
        for image, positions in ((moving, moving_at), (fixed, fixed_at)):
            assert image.shape == (1, *SHAPE, 1)
            assert positions.shape == (1, *SHAPE, 3)
            assert (image.min(), image.max()) == (0, 1)
            assert np.isfinite(positions).all()
            here = voxel_positions(SHAPE) - (np.array(SHAPE) - 1) / 2
            assert jacobian_determinant(positions[0] - here).min() > 0
        assert np.abs(moving_at - fixed_at).max() > 0.5


@pytest.mark.parametrize("brain", [False, True], ids=["blobs", "brain"])
def test_positions_say_which_voxels_correspond(source, brain):
    """Looking up the moving voxel of each fixed voxel's position makes the images alike."""
    before, after = [], []
    for seed in seeds(brain):
        moving, fixed, moving_at, fixed_at = (x.numpy()[0] for x in source.pair(seed))
        distance, index = cKDTree(moving_at.reshape(-1, 3)).query(fixed_at.reshape(-1, 3))
        inside = distance.reshape(SHAPE) < 1
        assert inside.mean() > 0.4
        moved = moving.reshape(-1)[index].reshape(SHAPE)
        before.append(local_correlation(fixed[..., 0], moving[..., 0], inside, 7))
        after.append(local_correlation(fixed[..., 0], moved, inside, 7))
    assert np.mean(after) > np.mean(before) + 0.15


def test_synthetic_dataset_starts_anywhere(source):
    """Step 5 of a data set that begins there is the pair of step 5."""
    step, batch = next(iter(source.dataset(5, 7, 1)))
    parts = [batch[k] for k in ("moving", "fixed", "moving_target", "fixed_target")]
    assert int(step) == 5
    expected = source.pair(tf.stack([source.seed * 1009, 5]))
    for part, whole in zip(parts, expected, strict=True):
        np.testing.assert_allclose(part, whole, atol=1e-4)
