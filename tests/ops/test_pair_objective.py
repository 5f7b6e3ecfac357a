"""The gradient of the objective of a pair against a gradient tape through the warps."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from bilevelmorph.errors import InputError
from bilevelmorph.losses import MIND, MSE, NMI, LocalNCC
from bilevelmorph.losses.regularity import diffusion
from bilevelmorph.ops import PairObjective, warp

SHAPE = (2, 11, 10, 1)


def cross(fixed, moved, sample_weight=None):
    """A loss that a user might write, of a plain function."""
    weight = 1.0 if sample_weight is None else sample_weight
    return tf.reduce_mean(weight * tf.abs(fixed - moved) ** 3)


@pytest.fixture
def pair(rng):
    return [tf.constant(gaussian_filter(rng.random(SHAPE), (0, 1, 1, 0))) for _ in range(2)]


def by_tape(loss, fixed, moving, displacement, mask=None):
    """Terms of every sample and the gradient of their sum."""
    with tf.GradientTape() as tape:
        tape.watch(displacement)
        values = []
        for i in range(len(displacement)):
            row = slice(i, i + 1)
            moved = warp(moving[row], displacement[row])
            values.append(loss(fixed[row], moved, None if mask is None else mask[row]))
        total = tf.add_n(values)
    return tf.stack(values), tape.gradient(total, displacement)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("loss", [LocalNCC(3), MSE(0.5), cross], ids=["ncc", "mse", "own"])
def test_gradient_of_a_tape(rng, pair, loss, masked):
    displacement = tf.constant(rng.normal(size=(*SHAPE[:-1], 2)))
    mask = tf.constant((rng.random(SHAPE) > 0.3).astype(float)) if masked else None
    terms, gradient = PairObjective(*pair, [(loss, 2.0)], mask)(displacement)
    values, slope = by_tape(loss, *pair, displacement, mask)
    np.testing.assert_allclose(terms[:, 0], 2 * values, rtol=1e-9)
    np.testing.assert_allclose(gradient, 2 * slope, atol=1e-10)


def test_mask_for_a_loss_that_takes_none_is_refused(pair):
    def plain(fixed, moved):
        return tf.reduce_mean(tf.abs(fixed - moved))

    with pytest.raises(InputError, match="takes no sample_weight"):
        PairObjective(*pair, [(plain, 1.0)], tf.ones(SHAPE))


def test_descriptors_are_warped(rng, pair):
    displacement, mind = tf.constant(rng.normal(size=(*SHAPE[:-1], 2))), MIND()
    terms, gradient = PairObjective(*pair, [(mind, 1.0)])(displacement)
    features = [mind.features(x) for x in pair]
    values, slope = by_tape(MSE(), *features, displacement)
    np.testing.assert_allclose(terms[:, 0], values, rtol=1e-9)
    np.testing.assert_allclose(gradient, slope, atol=1e-12)


def test_mutual_information(rng, pair):
    """Everywhere but at the extremes of the image, where the bins have a corner."""
    fixed, moved = pair
    loss = NMI(8)
    with tf.GradientTape() as tape:
        tape.watch(moved)
        values = tf.stack([loss(fixed[i : i + 1], moved[i : i + 1]) for i in range(2)])
        total = tf.reduce_sum(values)
    value, derivative = loss.slope(fixed, None)(moved)
    np.testing.assert_allclose(value, values, rtol=1e-9)
    apart = np.abs(derivative - tape.gradient(total, moved))
    assert (apart > 1e-10).sum() <= 4


def test_mixture_and_regulariser_add_up(rng, pair):
    displacement = tf.constant(rng.normal(size=(*SHAPE[:-1], 2)))
    parts = [(LocalNCC(3), 1.0), (MSE(), 0.5)]
    terms, gradient = PairObjective(*pair, parts, regularity=(diffusion, 0.1))(displacement)
    alone = [PairObjective(*pair, [part])(displacement) for part in parts]
    with tf.GradientTape() as tape:
        tape.watch(displacement)
        smooth = [0.1 * diffusion(displacement[i : i + 1]) for i in range(2)]
        total = tf.add_n(smooth)
    slope = tape.gradient(total, displacement)
    expected = [*(t[:, 0] for t, _ in alone), tf.stack(smooth)]
    np.testing.assert_allclose(terms, tf.stack(expected, -1), rtol=1e-9)
    np.testing.assert_allclose(gradient, alone[0][1] + alone[1][1] + slope, atol=1e-10)


def test_both_images_move_alike(rng, pair):
    """Exchanging the images exchanges their displacements."""
    fields = [tf.constant(rng.normal(size=(*SHAPE[:-1], 2))) for _ in range(2)]
    fixed, moving = pair
    there = PairObjective(fixed, moving, [(LocalNCC(3), 1.0)], symmetric=True)
    back = PairObjective(moving, fixed, [(LocalNCC(3), 1.0)], symmetric=True)
    terms, gradient = there(tf.concat(fields, 0))
    again, exchanged = back(tf.concat(fields[::-1], 0))
    np.testing.assert_allclose(terms, again, rtol=1e-9)
    np.testing.assert_allclose(gradient, tf.concat(tf.split(exchanged, 2)[::-1], 0), atol=1e-12)
