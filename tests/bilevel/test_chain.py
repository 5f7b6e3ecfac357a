"""Hypergradients through chains of steps, against closed forms and the methods for a single problem."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from problems import Ridge

from bilevelmorph.bilevel import Chain, ForwardMode, GradientDescent, Stage
from bilevelmorph.errors import InputError

DIRECTIONS = ("forward", "reverse")
every_direction = pytest.mark.parametrize("direction", DIRECTIONS)


def relaxation(target, rate=0.5):
    """A step towards a target, after which a start has no weight left."""
    return lambda values, data: [values[0] + rate * (target - values[0])]


@every_direction
@pytest.mark.parametrize(("last", "share"), [(0, 1 - 0.5**6), (6, 1 - 0.5**6), (2, 1 - 0.5**2), (1, 0.5)])
def test_of_a_geometric_series(direction, last, share):
    """After n halvings of the distance, the derivative by the target is 1 - 2^-n."""
    target = tf.Variable(np.float64(3.0))
    chain = Chain([target], lambda values, data: values[0] * data)
    found, values = chain([Stage(relaxation(target), 6)], [tf.zeros([], tf.float64)], 10.0, direction, last)
    assert float(values[0]) == pytest.approx(3 * (1 - 0.5**6))
    assert float(found.outer_loss) == pytest.approx(10 * float(values[0]))
    assert float(found.gradients[0]) == pytest.approx(10 * share)


@every_direction
def test_stages_may_change_the_size(direction):
    """Every entry is doubled in number and multiplied by a; the loss is 4 x (2 a^2) for ones."""
    a = tf.Variable(np.float64(1.5))

    def double(values, data):
        return [a * tf.repeat(values[0], 2)]

    chain = Chain([a], lambda values, data: tf.reduce_sum(values[0]))
    found, values = chain([Stage(double, 2)], [tf.ones([2], tf.float64)], None, direction)
    assert values[0].shape == [8]
    assert float(found.outer_loss) == pytest.approx(8 * 1.5**2)
    assert float(found.gradients[0]) == pytest.approx(16 * 1.5)


@every_direction
def test_direct_dependence_and_several_variables(direction):
    a, b = tf.Variable(np.array([2.0, 3.0])), tf.Variable(np.float64(5.0))
    chain = Chain([a, b], lambda values, data: values[0] + b**2)
    stages = [Stage(lambda values, data: [tf.reduce_sum(a * values[1]), values[1]])]
    start = [tf.zeros([], tf.float64), tf.constant(np.array([7.0, 11.0]))]
    found, _ = chain(stages, start, None, direction)
    np.testing.assert_allclose(found.gradients[0], [7, 11])
    assert float(found.gradients[1]) == pytest.approx(10)


@every_direction
def test_the_same_as_for_one_problem(direction):
    ridge, rate = Ridge(2), 0.0625  # exact in single precision, as which it is kept
    problem = ridge.problem(GradientDescent(rate), np.zeros((4, 1)))
    expected = ForwardMode(5)(problem)
    x, y, a, b = (tf.constant(v) for v in (ridge.x, ridge.y, ridge.a, ridge.b))
    (penalty,) = problem.outer_variables

    def step(values, data):
        (w,) = values
        slope = tf.transpose(x) @ (x @ w - y) + tf.exp(penalty)[:, None] * w
        return [w - rate * slope]

    chain = Chain([penalty], lambda values, data: tf.reduce_sum((a @ values[0] - b) ** 2) / 2)
    found, _ = chain([Stage(step, 5)], [tf.zeros([4, 1], tf.float64)], None, direction)
    np.testing.assert_allclose(found.gradients[0], expected.gradients[0], rtol=1e-9)


def test_a_step_is_traced_once():
    a, traced = tf.Variable(1.0), []

    def step(values, data):
        traced.append(1)
        return [values[0] * a + data]

    chain = Chain([a], lambda values, data: values[0])
    for k in range(3):
        chain([Stage(step, 4)], [tf.constant(float(k))], tf.constant(1.0))
    assert len(traced) == 2  # forward, and for its derivative


def test_another_direction_is_refused():
    a = tf.Variable(1.0)
    with pytest.raises(InputError, match=r"direction: got .*sideways"):
        Chain([a], lambda values, data: a)([], [], None, "sideways")
