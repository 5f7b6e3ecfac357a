"""Searched layers: a mixture is the sum of its operations, and one that is decided is that operation."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from bilevelmorph.layers import Cell, MixedOp
from bilevelmorph.layers.mixed_op import OPERATIONS, SLOPE, multiply_adds

DECIDED = 1e4


def images(ndims, channels=3):
    shape = (2, 11, 9, 8)[: ndims + 1]
    return tf.constant(np.random.default_rng(0).normal(size=(*shape, channels)).astype(np.float32))


def alone(mixed, name):
    """The operation by itself, with the weights that it has in the mixture."""
    layer = MixedOp(mixed.ndims, mixed.filters, [name])
    layer.build((None, *[None] * mixed.ndims, 3))
    for mine, theirs in zip(layer._kernels[name], mixed._kernels[name], strict=True):
        mine.assign(mixed.kernels[theirs.path])
    layer.bias.assign(mixed.bias)
    return layer


def supernet(ndims, filters=4, operations=OPERATIONS):
    keras.utils.set_random_seed(1)
    layer = MixedOp(ndims, filters, operations)
    layer.build((None, *[None] * ndims, 3))
    layer.bias.assign(np.random.default_rng(2).normal(size=filters))
    return layer


def before_activation(y):
    return tf.where(y > 0, y, y / SLOPE)


@pytest.mark.parametrize("ndims", [2, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_decided_mixture_is_the_operation(ndims, name):
    """Kernels embedded in the largest extent against Keras's own way of each operation, borders included."""
    mixed, x = supernet(ndims), images(ndims)
    mixed.alpha.assign(DECIDED * np.eye(len(OPERATIONS))[OPERATIONS.index(name)])
    np.testing.assert_allclose(mixed(x), alone(mixed, name)(x), atol=2e-5)


@pytest.mark.parametrize("ndims", [2, 3])
@pytest.mark.parametrize("name", [n for n in OPERATIONS if n != "skip"])
def test_a_step_of_adam_is_as_large_for_every_operation(ndims, name):
    """Against what He's initial values are, all taps together, as for `conv3`; and these are He's."""
    keras.utils.set_random_seed(3)
    mixed = MixedOp(ndims, 64, ["conv3", name] if name != "conv3" else ["conv3", "conv1"])
    mixed.build((None, *[None] * ndims, 64))

    def shares():
        kernels = [np.array(mixed.kernels[k.path]) for k in mixed._kernels[name]]
        fans = [k.size / k.shape[-1] for k in kernels]
        for kernel, fan in zip(kernels, fans, strict=True):
            assert kernel.std() == pytest.approx(np.sqrt(2 / fan), rel=0.1)
        weights = [v for v in mixed.trainable_weights if v.path in mixed.kernels]
        before = [np.array(mixed.kernels[v.path]) for v in weights]
        optimizer = keras.optimizers.Adam(1e-4)
        optimizer.apply([tf.ones(v.shape) for v in weights], weights)
        moved = {v.path: np.array(mixed.kernels[v.path]) - b for v, b in zip(weights, before, strict=True)}
        mine = [np.abs(moved[k.path]).mean() for k in mixed._kernels[name]]
        return sum(m * np.sqrt(f / 2) for m, f in zip(mine, fans, strict=True))

    assert shares() == pytest.approx(1e-4 * np.sqrt(3**ndims * 64 / 2), rel=1e-3)


@pytest.mark.parametrize("ndims", [2, 3])
def test_a_mixture_is_the_weighted_sum(ndims):
    mixed, x = supernet(ndims), images(ndims)
    mixed.alpha.assign(np.random.default_rng(3).normal(size=len(OPERATIONS)))
    mixed.softmax_temperature.assign(0.5)
    logits = np.array(mixed.alpha) / 0.5
    shares = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(mixed.probabilities, shares, rtol=1e-5)
    parts = [before_activation(alone(mixed, name)(x)) for name in OPERATIONS]
    expected = sum(p * part for p, part in zip(shares, parts, strict=True))
    np.testing.assert_allclose(before_activation(mixed(x)), expected, atol=5e-5)


def test_separable_and_dilated_are_what_keras_makes_of_them():
    layer, x = supernet(2, 4, ["dil3"]), images(2)
    reference = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=2)
    reference.build(x.shape)
    reference.kernel.assign(layer._kernels["dil3"][0])
    reference.bias.assign(layer.bias)
    np.testing.assert_allclose(before_activation(layer(x)), reference(x), atol=1e-5)
    layer = supernet(2, 4, ["sep3"])
    down, across = (np.array(k) for k in layer._kernels["sep3"])
    expected = x
    for kernel, size in ((down, (3, 1)), (across, (1, 3))):
        part = keras.layers.Conv2D(4, size, padding="same", use_bias=False)
        part.build(expected.shape)
        part.kernel.assign(kernel.reshape(*size, *kernel.shape[1:]))
        expected = part(expected)
    np.testing.assert_allclose(before_activation(layer(x)), expected + layer.bias, atol=1e-5)


def test_logits_are_not_trained_with_the_weights_but_have_gradients():
    mixed, x = supernet(2, 4, ["conv1", "conv3", "skip"]), images(2)
    assert all(v is not mixed.alpha for v in mixed.trainable_variables)
    with tf.GradientTape() as tape:
        tape.watch(mixed.alpha.value)
        loss = tf.reduce_sum(mixed(x) ** 2)
    slope = tape.gradient(loss, mixed.alpha.value)
    assert np.abs(slope).min() > 0
    # A softmax does not see what is added to all of its logits.
    assert abs(float(tf.reduce_sum(slope))) < 1e-4 * np.abs(slope).sum()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_cell_of_decided_depth_is_the_shorter_one(depth):
    keras.utils.set_random_seed(0)
    x = images(2)
    cell = Cell(2, 4, [["conv3"], ["dil3"], ["conv1"]])
    cell.build(x.shape)
    cell.depth.assign(DECIDED * np.eye(3)[depth - 1])
    short = Cell(2, 4, [["conv3"], ["dil3"], ["conv1"]][:depth], deep=True)
    short.build(x.shape)
    for mine, theirs in zip(short.choices, cell.choices, strict=False):
        for a, b in zip(mine.weights, theirs.weights, strict=True):
            a.assign(b)
    np.testing.assert_allclose(cell(x), short(x), atol=1e-6)


def test_costs_are_those_of_the_kernels():
    """A multiply-add for every weight and voxel, skip for nothing."""
    for ndims, name in itertools.product((2, 3), OPERATIONS):
        layer = supernet(ndims, 5, [name])
        assert multiply_adds(name, ndims, 3, 5) == sum(np.prod(k.shape) for k in layer._kernels[name])
