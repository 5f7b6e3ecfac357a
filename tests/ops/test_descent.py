"""Descent on a displacement: what it finds, where it stops, and what it never does."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from bilevelmorph.devices import using_xla
from bilevelmorph.losses import MSE, LocalNCC
from bilevelmorph.ops import PairObjective, descend, jacobian_determinant, unfold, warp
from bilevelmorph.ops.descent import updated

pytestmark = pytest.mark.usefixtures("plain_graphs")


def smooth(seed, shape, sigma=2.0):
    noise = gaussian_filter(np.random.default_rng(seed).random(shape), sigma)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def pair(shape=(24, 26), size=1.5):
    """A moving image, and what a known smooth displacement makes of it."""
    ndims = len(shape)
    moving = tf.constant(smooth(0, shape)[None, ..., None])
    field = np.stack([smooth(k, shape, 4) - 0.5 for k in range(1, ndims + 1)], -1)
    field = tf.constant(2 * size * field[None])
    return moving, warp(moving, field), field


def start_of(moving, batch=1):
    return tf.zeros([batch, *moving.shape[1:-1], moving.shape.rank - 2])


@pytest.mark.parametrize("shape", [(24, 26), (16, 18, 14)])
def test_finds_a_known_deformation(shape):
    moving, fixed, field = pair(shape)
    objective = PairObjective(fixed, moving, [(LocalNCC(5), 1.0)])
    state = descend(start_of(moving), objective, 40, step=0.5)
    inside = (0, *[slice(4, -4)] * len(shape))
    rest = np.linalg.norm((state.best - field)[inside], axis=-1)
    assert rest.mean() < 0.35 * np.linalg.norm(field[inside], axis=-1).mean()
    assert float(state.objective[0]) < 0.2 * float(state.begun[0])
    assert float(tf.reduce_min(jacobian_determinant(state.best))) > 0


def test_largest_move_is_the_step(rng):
    gradient = tf.constant(rng.normal(size=(2, 9, 8, 2)))
    moved = updated(tf.zeros_like(gradient), gradient, 0.7, 1.0, 0.0)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=-1).max((1, 2)), 0.7, rtol=1e-6)


def test_result_is_the_best_iterate():
    """Even with steps that are far too long."""
    moving, fixed, _ = pair()
    objective = PairObjective(fixed, moving, [(MSE(), 1.0)])
    state = descend(start_of(moving), objective, 8, step=6.0)
    assert float(state.objective[0]) <= float(state.begun[0])
    np.testing.assert_allclose(objective(state.best)[0], state.terms, rtol=1e-5)


def test_stops_when_it_gains_no_more():
    moving, fixed, field = pair()
    objective = PairObjective(fixed, moving, [(MSE(), 1.0)])
    state = descend(field, objective, 50, step=0.5, patience=3)
    assert int(state.taken[0]) == 3
    np.testing.assert_array_equal(state.best, field)


def test_samples_do_not_depend_on_their_batch():
    pairs = [pair(size=size)[:2] for size in (0.5, 1.0, 2.0)]
    moving, fixed = (tf.concat(images, 0) for images in zip(*pairs, strict=True))

    def best(moving, fixed):
        objective = PairObjective(fixed, moving, [(LocalNCC(5), 1.0)])
        return descend(start_of(moving, len(moving)), objective, 12, patience=2, tolerance=0.02)

    together = best(moving, fixed)
    alone = [best(*p) for p in pairs]
    assert len({int(s.taken[0]) for s in alone}) > 1
    np.testing.assert_array_equal(together.taken, [int(s.taken[0]) for s in alone])
    np.testing.assert_allclose(together.best, tf.concat([s.best for s in alone], 0), atol=1e-5)


def test_same_bits_again_and_nearly_the_same_compiled():
    moving, fixed, _ = pair()

    def best():
        objective = PairObjective(fixed, moving, [(LocalNCC(5), 1.0)])
        return descend(start_of(moving), objective, 5).best

    first = best()
    np.testing.assert_array_equal(first, best())
    with using_xla("islands"):
        np.testing.assert_allclose(first, best(), atol=1e-4)


def test_term_that_breaks_stops_the_sample():
    """The best displacement before is kept, and the term is named."""
    moving, fixed, _ = pair()

    class Breaking(MSE):
        """Not a number once the image has moved far enough."""

        def slope(self, fixed, mask):
            inner = super().slope(fixed, mask)

            def slope(moved):
                value, derivative = inner(moved)
                return tf.where(value < 0.7 * begun, np.nan, value), derivative

            return slope

    begun = MSE().slope(fixed, None)(moving)[0]
    objective = PairObjective(fixed, moving, [(MSE(), 1.0), (Breaking(), 1.0)])
    state = descend(start_of(moving), objective, 60, step=0.5)
    assert int(state.broken[0]) == 1
    assert int(state.taken[0]) < 60
    assert np.isfinite(state.best).all()
    assert 0.7 * float(begun[0]) <= float(state.terms[0, 0]) < float(begun[0])


def test_mask_hides_voxels():
    """What is masked has no say in the result."""
    moving, fixed, _ = pair()
    mask = np.ones(fixed.shape, np.float32)
    mask[0, :, 16:] = 0
    spoilt = fixed * mask + 0.9 * (1 - mask)
    best = []
    for image in (fixed, spoilt):
        objective = PairObjective(image, moving, [(MSE(), 1.0)], tf.constant(mask))
        best.append(descend(start_of(moving), objective, 6).best)
    np.testing.assert_array_equal(*best)


@pytest.mark.parametrize("shape", [(30,), (20, 22), (12, 14, 13)])
def test_unfolds_where_it_folds(shape):
    ndims = len(shape)
    field = np.zeros((1, *shape, ndims), np.float32)
    field[(0, *[n // 2 for n in shape], 0)] = 4
    repaired = unfold(tf.constant(field))
    assert jacobian_determinant(tf.constant(field)).numpy().min() < 0
    assert jacobian_determinant(repaired).numpy().min() > 0
    far = (0, *[0] * ndims)
    np.testing.assert_array_equal(repaired[far], field[far])


def test_regular_displacement_is_left_alone():
    _, _, field = pair()
    np.testing.assert_array_equal(unfold(field), field)
