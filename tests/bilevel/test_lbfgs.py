"""Limited-memory BFGS as an inner optimiser, against its definition, SciPy and closed forms, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from problems import Ridge, close, curved, in_graph
from scipy.optimize import minimize

from bilevelmorph import bilevel
from bilevelmorph.bilevel import LBFGS, BilevelProblem, GradientDescent, LearnedInverse
from bilevelmorph.errors import InputError


def lower_level(loss, *starts, optimizer=None):
    """A problem whose upper level does not matter."""
    w = [tf.Variable(s) for s in starts]
    problem = BilevelProblem(w, [tf.Variable(0.0)], lambda: loss(*w), lambda: loss(*w), optimizer or LBFGS())
    return problem, w


def pairs(rng, count, size=5):
    """Steps and the changes along them, of a quadratic."""
    root = rng.normal(size=(size, size))
    bend = root @ root.T + np.eye(size)
    steps = rng.normal(size=(count, size))
    return list(zip(steps, steps @ bend, strict=True))


def bfgs(shown):
    """The inverse by the recursion of BFGS, from a multiple of the identity."""
    step, change = shown[-1]
    inverse = step @ change / (change @ change) * np.eye(len(step))
    for step, change in shown:
        project = np.eye(len(step)) - np.outer(change, step) / (change @ step)
        inverse = project.T @ inverse @ project + np.outer(step, step) / (change @ step)
    return inverse


@pytest.mark.parametrize(("count", "memory"), [(1, 3), (3, 3), (4, 3), (8, 3), (5, 1), (7, 10)])
def test_the_inverse_is_that_of_bfgs(count, memory, rng):
    """Of the pairs that are kept, also once the newest have taken the places of the oldest."""
    shown = pairs(rng, count)
    learned = LearnedInverse.none(tf.zeros([5], tf.float64), memory, 1.0)
    for step, change in shown:
        learned = learned.after(tf.constant(step), tf.constant(change), True)
    expected = bfgs(shown[-memory:])
    for vector in np.eye(5):
        np.testing.assert_allclose(learned.times(tf.constant(vector)), expected @ vector, rtol=1e-9)
    np.testing.assert_allclose(learned.times(tf.constant(shown[-1][1])), shown[-1][0], rtol=1e-9)


def test_nothing_is_learned_from_a_useless_pair(rng):
    learned = LearnedInverse.none(tf.zeros([5], tf.float64), 3, 1.0)
    for step, change in pairs(rng, 4):
        learned = learned.after(tf.constant(step), tf.constant(change), True)
    s, y = (tf.constant(v) for v in pairs(rng, 1)[0])
    across = y - s * tf.reduce_sum(s * y) / tf.reduce_sum(s * s)
    nothing = tf.zeros_like(s)
    for step, change, usable in (
        (s, y, False),
        (s, -y, True),
        (s, across, True),
        (s, y * np.nan, True),
        (nothing, nothing, True),
    ):
        for new, old in zip(learned.after(step, change, usable), learned, strict=True):
            np.testing.assert_array_equal(new, old)
    forgotten = learned.unless(tf.constant(True), 7.0)
    np.testing.assert_allclose(forgotten.times(s), 7 * s)
    afresh = LearnedInverse.none(s, 3, 7.0).after(s, y, True)
    np.testing.assert_allclose(forgotten.after(s, y, True).times(y + 1), afresh.times(y + 1))


def test_a_round_bowl_takes_two_steps():
    """One along the gradient, one with the curvature learned there."""
    problem, (w,) = lower_level(lambda w: 2 * tf.reduce_sum((w - 3) ** 2), np.array([1.0, -5.0, 2.0]))
    problem.optimizer.rate = 0.1
    problem.state = problem.optimizer.initial_state(problem.values())
    problem.inner_steps(2)
    np.testing.assert_allclose(w, [3, 3, 3], rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_ridge_is_solved_in_few_gradients(seed):
    """And gradient descent, at its best rate, is farther from there after as many."""
    ridge = Ridge(seed)
    problem = ridge.problem(LBFGS(0.02), np.zeros((4, 1)))
    assert int(problem.inner_steps(16)) <= 17
    error = np.abs(problem.inner_variables[0] - ridge.optimum).max()
    assert error < 1e-6
    values = np.linalg.eigvalsh(ridge.curvature)
    plain = ridge.problem(GradientDescent(2 / (values[0] + values[-1])), np.zeros((4, 1)))
    assert int(plain.inner_steps(16)) == 16
    assert np.abs(plain.inner_variables[0] - ridge.optimum).max() > 20 * error


def test_the_minimum_of_scipy(rng):
    """Of a convex loss that is no quadratic, over variables of several shapes."""
    mix = tf.constant(rng.normal(size=(9, 5)))

    def loss(matrix, number):
        x = tf.linalg.matvec(mix, tf.concat([tf.reshape(matrix, [-1]), number[None]], 0))
        return tf.reduce_sum(tf.cosh(x - 0.5)) + number**4

    problem, w = lower_level(loss, rng.normal(size=(2, 2)), np.float64(0.4), optimizer=LBFGS(0.1))
    start = problem.values()

    def loss_and_slope(x):
        problem.assign([x[:4].reshape(2, 2), x[4]])
        found, slope = problem.inner_slope()
        return float(found), np.concatenate([np.ravel(s) for s in slope])

    x = np.concatenate([np.ravel(v) for v in start])
    theirs = minimize(loss_and_slope, x, jac=True, method="L-BFGS-B", options={"gtol": 1e-10, "ftol": 0})
    problem.assign(start)
    in_graph(lambda p: p.inner_steps(60), problem)
    np.testing.assert_allclose(np.concatenate([np.ravel(v) for v in w]), theirs.x, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(problem.inner_loss(), theirs.fun, rtol=1e-12)


def rosenbrock(w):
    return tf.reduce_sum(100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2)


def test_a_bent_valley():
    """The loss never rises, though its curvature is negative on the way."""
    problem, (w,) = lower_level(rosenbrock, np.array([-1.2, 1.0, -0.5, 2.0]))
    losses = [float(problem.inner_loss())]
    for _ in range(150):
        problem.inner_step()
        losses.append(float(problem.inner_loss()))
    assert max(np.diff(losses)) <= 1e-12
    np.testing.assert_allclose(w, np.ones(4), rtol=1e-6)


@pytest.mark.parametrize("rate", [1e-6, 1.0, 1e8])
def test_any_rate_will_do_to_begin_with(rate):
    """Also where the loss is not finite beyond a wall."""
    wall = lower_level(
        lambda w: tf.reduce_sum(w - tf.math.log(w)), np.array([0.3, 4.0]), optimizer=LBFGS(rate)
    )
    in_graph(lambda p: p.inner_steps(60), wall[0])
    np.testing.assert_allclose(wall[1][0], [1, 1], rtol=1e-6)


def test_no_step_is_taken_from_where_nothing_is_finite():
    problem, (w,) = lower_level(lambda w: tf.reduce_sum(tf.math.log(w)), np.array([-1.0, 2.0]))
    problem.inner_steps(5)
    np.testing.assert_array_equal(w, [-1, 2])


def test_it_stops_at_the_minimum():
    ridge = Ridge()
    problem = ridge.problem(LBFGS(0.02, tolerance=1e-6))
    before = problem.values()
    assert int(problem.inner_steps(50)) == 1
    np.testing.assert_array_equal(problem.values()[0], before[0])
    away = ridge.problem(LBFGS(0.02, tolerance=1e-6), ridge.optimum + 1)
    assert int(away.inner_steps(500)) < 30
    assert float(tf.norm(away.inner_gradient()[0])) <= 1e-6


def test_single_steps_go_on_where_the_last_one_ended():
    singly, jointly, compiled, xla = (curved(LBFGS(10.0)) for _ in range(4))
    for _ in range(9):
        singly.inner_step()
    jointly.inner_steps(4)
    jointly.inner_steps(5)
    in_graph(lambda p: p.inner_steps(9), compiled)
    tf.function(lambda: xla.inner_steps(9), jit_compile=True)()
    for other in (jointly, compiled, xla):
        for a, b in zip(other.values(), singly.values(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7)


def test_the_same_bits_twice():
    ends = []
    for _ in range(2):
        problem, (w,) = lower_level(rosenbrock, np.array([-1.2, 1.0, -0.5, 2.0]))
        in_graph(lambda p: p.inner_steps(30), problem)
        ends.append(w.numpy())
    np.testing.assert_array_equal(*ends)


def test_single_precision():
    scales = tf.constant(np.geomspace(0.1, 10, 30), tf.float32)
    problem, (w,) = lower_level(
        lambda w: tf.reduce_sum(scales * (w - 1) ** 2), np.zeros(30, np.float32), optimizer=LBFGS(0.05)
    )
    in_graph(lambda p: p.inner_steps(60), problem)
    np.testing.assert_allclose(w, np.ones(30), atol=1e-4)


def test_what_was_learned_helps_after_an_outer_step():
    """From the optimum, the penalties move a little: fewer gradients than for one who begins anew."""
    ridge = Ridge(features=8)
    warm, cold = (ridge.problem(LBFGS(0.02, tolerance=1e-8), np.zeros((8, 1))) for _ in range(2))
    for problem in (warm, cold):
        problem.inner_steps(200)
        problem.outer_variables[0].assign_add(np.full(8, 0.1))
    cold.state = cold.optimizer.initial_state(cold.values())
    warm_cost, cold_cost = int(warm.inner_steps(200)), int(cold.inner_steps(200))
    assert warm_cost < cold_cost
    np.testing.assert_allclose(warm.values()[0], cold.values()[0], rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("method", [bilevel.ConjugateGradient, bilevel.Neumann], ids=["cg", "neumann"])
def test_hypergradients_after_it(seed, method):
    """The closed form; the Neumann series by the inverse that was learned."""
    ridge = Ridge(seed)
    problem = ridge.problem(LBFGS(0.02, tolerance=1e-10), np.zeros((4, 1)))
    problem.inner_steps(60)
    close(in_graph(method(60, tolerance=1e-8), problem), [ridge.hypergradient()], 1e-6)


def test_an_unrolled_step_takes_the_inverse_as_fixed():
    problem = curved(LBFGS(0.1))
    problem.inner_steps(8)
    inverse = LearnedInverse(*problem.state[1:])
    gradients = problem.inner_gradient()
    flat = tf.concat([tf.reshape(g, [-1]) for g in gradients], 0)
    values, state = problem.optimizer.update(problem.values(), gradients, problem.state)
    moved = [tf.reshape(b - a, [-1]) for a, b in zip(values, problem.values(), strict=True)]
    np.testing.assert_allclose(tf.concat(moved, 0), inverse.times(flat), rtol=1e-12)
    assert state is problem.state
    close(bilevel.OneStepUnroll()(problem), bilevel.TruncatedUnroll(1)(problem).gradients)


def test_descent_on_both_levels(rng):
    """Ridge penalties by 30 outer steps of 5 inner ones: the outer loss falls as with exact solutions."""
    ridge = Ridge(features=6)
    problem = ridge.problem(LBFGS(0.02), np.zeros((6, 1)))
    method, penalty = bilevel.ConjugateGradient(), problem.outer_variables[0]

    @tf.function(autograph=False)
    def several():
        def step(k, *state):
            problem.state = list(state)
            problem.inner_steps(5)
            penalty.assign_sub(0.1 * method(problem).gradients[0])
            return (k + 1, *problem.state)

        return tf.while_loop(lambda k, *_: k < 30, step, (0, *problem.state))[1:]

    several()
    for _ in range(30):
        ridge.penalty = ridge.penalty - 0.1 * ridge.hypergradient()
    np.testing.assert_allclose(penalty, ridge.penalty, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LBFGS(0.0), "rate: got 0.0, expected a number above 0"),
        (lambda: LBFGS(memory=0), "memory: got 0, expected a whole number above 0"),
        (lambda: LBFGS(memory=2.5), "memory"),
        (lambda: LBFGS(tolerance=-1e-3), "tolerance: got -0.001, expected a number of at least 0"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(InputError, match=message):
        make()
