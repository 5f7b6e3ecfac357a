"""Methods without second derivatives that keep a copy of the inner variables: F2SA and BOME."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from problems import Ridge, close, fastest, in_graph

from bilevelmorph import bilevel
from bilevelmorph.bilevel import BilevelProblem, GradientDescent


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("penalty", [3.0, 100.0])
def test_f2sa_of_ridge(seed, penalty):
    """Both minimisations solved: the derivative of the penalised problem, written out."""
    ridge = Ridge(seed)
    problem = ridge.problem(GradientDescent(0.5 * fastest(ridge)))
    total, right = ridge.curvature + ridge.a.T @ ridge.a / penalty, ridge.a.T @ ridge.b / penalty
    copy, w = np.linalg.solve(total, ridge.x.T @ ridge.y + right), ridge.optimum
    expected = penalty * np.exp(ridge.penalty) * (copy**2 - w**2)[:, 0] / 2
    result = in_graph(bilevel.F2SA(penalty, steps=3000), problem)
    close(result, [expected])
    np.testing.assert_allclose(result.outer_loss, ((ridge.a @ copy - ridge.b) ** 2).sum() / 2)


def test_the_bias_of_f2sa_falls_with_the_penalty():
    """Ten times the penalty, a tenth of the error."""
    ridge = Ridge(1)
    problem = ridge.problem(GradientDescent(fastest(ridge)))
    errors = []
    for penalty in (1e3, 1e4, 1e5):
        found = in_graph(bilevel.F2SA(penalty, steps=600), problem).gradients[0].numpy()
        errors.append(np.abs(found - ridge.hypergradient()).max())
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.05)
    assert errors[2] < 1e-4 * np.abs(ridge.hypergradient()).max()


@pytest.mark.parametrize("terms", [1, 2, 7])
def test_f2sa_takes_the_steps_of_the_neumann_series(terms, rng):
    """Also where the inner variables are not at their minimum."""
    problem = Ridge(2).problem(GradientDescent(0.01), rng.normal(size=(4, 1)))
    series = bilevel.Neumann(terms, tolerance=10.0)(problem).gradients
    close(bilevel.F2SA(1e7, terms)(problem), series, 1e-5)


def test_the_copy_of_f2sa_goes_on_and_follows():
    """Calls in a row are one long call, and moving the inner variables moves the copy."""
    ridge, shift = Ridge(), np.full((4, 1), 0.3)
    problem, inner = ridge.problem(GradientDescent(0.01)), GradientDescent(0.01)
    method = bilevel.F2SA(10.0, 4)
    for _ in range(3):
        result = method(problem)
    close(result, bilevel.F2SA(10.0, 12)(problem).gradients, 1e-10)
    moved, other = ridge.problem(inner, ridge.optimum + shift), bilevel.F2SA(10.0, 4)
    other.build(moved.inner_variables)
    other.variables[0].assign(method.variables[0])
    problem.assign(moved.values())
    close(method(problem), other(moved).gradients, 1e-12)


def test_bome_of_ridge(rng):
    """Three calls, away from the minimum, with the formulae of the paper."""
    ridge, rate, barrier = Ridge(), 0.02, 0.7
    w = ridge.optimum + 0.1 * rng.normal(size=(4, 1))
    problem, method, copy = ridge.problem(GradientDescent(rate), w), bilevel.BOME(barrier), w.copy()
    for _ in range(3):
        result = method(problem)
        by_inner = ridge.inner_gradient(copy)[:, 0]
        by_outer = np.exp(ridge.penalty) * (copy**2 - w**2)[:, 0] / 2
        downhill = ridge.outer_gradient(copy)[:, 0]
        weight = max(0, barrier - downhill @ by_inner / (by_inner @ by_inner + by_outer @ by_outer))
        close(result, [weight * by_outer])
        copy = copy - rate * (downhill + weight * by_inner)[:, None]
    assert weight > 0


def quadratic(rng):
    """A problem and the outer variables that solve it: ``w = C a`` below, ``w`` near a target above."""
    root, coupling, target = rng.normal(size=(3, 3)), rng.normal(size=(3, 2)), rng.normal(size=(3, 1))
    w, a = tf.Variable(np.zeros((3, 1))), tf.Variable(np.ones((2, 1)))
    bend = root @ root.T / 3 + np.eye(3)

    def inner_loss():
        apart = w - coupling @ a
        return tf.reduce_sum(apart * (bend @ apart)) / 2

    def outer_loss():
        return tf.reduce_sum((w - target) ** 2) / 2 + tf.reduce_sum(a**2) / 2

    best = np.linalg.solve(coupling.T @ coupling + np.eye(2), coupling.T @ target)
    return BilevelProblem([w], [a], inner_loss, outer_loss, GradientDescent(0.2)), best


@pytest.mark.parametrize(
    ("method", "calls", "tolerance"),
    [
        (bilevel.ConjugateGradient, 300, 1e-6),
        (lambda: bilevel.F2SA(1e4, 10), 300, 1e-3),
        (lambda: bilevel.F2SA(10.0, 10), 300, 0.1),
        (bilevel.BOME, 3000, 0.03),
    ],
    ids=["conjugate-gradient", "f2sa", "f2sa-small-penalty", "bome"],
)
def test_descent_ends_at_the_solution(method, calls, tolerance, rng):
    """Of both levels at once, within what each method promises."""
    problem, best = quadratic(rng)
    method = method()
    method.build(problem.inner_variables)

    @tf.function
    def step():
        problem.inner_steps(5)
        problem.outer_variables[0].assign_sub(0.1 * method(problem).gradients[0])

    for _ in range(calls):
        step()
    error = np.abs(problem.outer_variables[0].numpy() - best).max()
    assert error < tolerance
    assert np.abs(1 - best).max() > 0.2  # where it began
