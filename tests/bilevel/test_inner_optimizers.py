"""Inner optimisers against Keras's own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from bilevelmorph.bilevel import Adam, GradientDescent
from bilevelmorph.errors import InputError

SHAPES = [(3, 2), (4,), ()]


def walk(rng, optimizer, steps, variables):
    """Let Keras take steps; the gradients it saw."""
    track = [[tf.constant(rng.normal(size=s).astype(np.float32)) for s in SHAPES] for _ in range(steps)]
    for gradients in track:
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return track


def variables(rng):
    return [keras.Variable(rng.normal(size=s).astype(np.float32)) for s in SHAPES]


@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("schedule", [False, True])
@pytest.mark.parametrize("earlier", [0, 5])
def test_the_next_step_of_keras_adam(rng, clip, schedule, earlier):
    rate = keras.optimizers.schedules.CosineDecay(0.1, 10) if schedule else 0.1
    ours, theirs = variables(rng), keras.optimizers.Adam(rate, global_clipnorm=clip)
    theirs.build(ours)
    walk(rng, theirs, earlier, ours)
    adam, state = Adam.of_keras(theirs, ours)
    values = [tf.convert_to_tensor(v) for v in ours]
    (gradients,) = walk(rng, theirs, 1, ours)
    new, new_state = adam.update(values, gradients, state)
    for a, b in zip(new, ours, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)
    _, expected = Adam.of_keras(theirs, ours)
    for a, b in zip(new_state, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)


def test_several_steps_from_the_beginning(rng):
    ours, theirs, adam = variables(rng), keras.optimizers.Adam(0.05), Adam(0.05)
    theirs.build(ours)
    values = [tf.convert_to_tensor(v) for v in ours]
    state = adam.initial_state(values)
    for gradients in walk(rng, theirs, 8, ours):
        values, state = adam.update(values, gradients, state)
    for a, b in zip(values, ours, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_momentum_of_keras(rng):
    ours = variables(rng)
    theirs, mine = keras.optimizers.SGD(0.1, momentum=0.8), GradientDescent(0.1, 0.8)
    values = [tf.convert_to_tensor(v) for v in ours]
    theirs.build(ours)
    state = mine.initial_state(values)
    for gradients in walk(rng, theirs, 4, ours):
        values, state = mine.update(values, gradients, state)
    for a, b in zip(values, ours, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_weight_that_never_moved_has_finite_derivatives():
    adam, zero = Adam(0.1), [tf.constant([0.0, 1.0])]
    state = adam.initial_state(zero)
    back = adam.step_transposed(zero, [tf.constant([0.0, 0.0])], state, [tf.constant([1.0, 1.0])])
    assert np.isfinite(back[0]).all()


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.SGD(0.1),
        keras.optimizers.Adam(0.1, amsgrad=True),
        keras.optimizers.Adam(0.1, clipvalue=1.0),
        keras.optimizers.AdamW(0.1),
    ],
    ids=["sgd", "amsgrad", "clipvalue", "adamw"],
)
def test_an_optimizer_that_is_not_modelled(rng, optimizer):
    ours = variables(rng)
    optimizer.build(ours)
    with pytest.raises(InputError, match="inner optimiser"):
        Adam.of_keras(optimizer, ours)
