"""Hypergradients against closed forms, finite differences and one another, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from problems import Ridge, close, curved, differences, fastest, in_graph

from bilevelmorph import bilevel
from bilevelmorph.bilevel import Adam, BilevelProblem, GradientDescent
from bilevelmorph.errors import InputError
from bilevelmorph.registry import METHODS

INNER = {
    "descent": lambda: GradientDescent(0.01),
    "momentum": lambda: GradientDescent(0.01, momentum=0.9),
    "clipped": lambda: GradientDescent(0.01, clip_norm=0.5),
    "adam": lambda: Adam(0.02),
    "adam-clipped": lambda: Adam(0.02, clip_norm=0.5),
}
ALL = {name: METHODS.find(name) for name in METHODS}
every_inner = pytest.mark.parametrize("inner", INNER.values(), ids=INNER)


def after_steps(problem: BilevelProblem, steps: int) -> float:
    """The outer loss after inner steps from the present values, which stay."""
    before, state = problem.values(), problem.state
    for _ in range(steps):
        problem.inner_step()
    loss = float(problem.outer_loss())
    problem.assign(before)
    problem.state = state
    return loss


@pytest.mark.parametrize("seed", range(3))
def test_conjugate_gradient_of_ridge(seed):
    ridge = Ridge(seed)
    result = bilevel.ConjugateGradient(tolerance=1e-12)(ridge.problem(GradientDescent(0.01)))
    close(result, [ridge.hypergradient()])


@pytest.mark.parametrize("seed", range(3))
def test_neumann_of_ridge(seed):
    ridge = Ridge(seed)
    rate = fastest(ridge)
    close(in_graph(bilevel.Neumann(1500), ridge.problem(GradientDescent(rate))), [ridge.hypergradient()])


@pytest.mark.parametrize("seed", range(3))
def test_one_step_of_ridge(seed, rng):
    """Away from the optimum: the derivative of one gradient step, written out."""
    ridge, rate = Ridge(seed), 0.03
    w = rng.normal(size=(4, 1))
    after = w - rate * ridge.inner_gradient(w)
    expected = ridge.indirect(w, rate * ridge.outer_gradient(after))
    close(bilevel.OneStepUnroll()(ridge.problem(GradientDescent(rate), w)), [expected])


@pytest.mark.parametrize("seed", range(3))
def test_many_steps_of_ridge_approach_the_optimum(seed):
    """From anywhere, steps enough forget where they began."""
    ridge = Ridge(seed)
    rate = fastest(ridge)
    problem = ridge.problem(GradientDescent(rate), np.zeros((4, 1)))
    close(bilevel.TruncatedUnroll(300)(problem), [ridge.hypergradient()], 1e-7)


@every_inner
@pytest.mark.parametrize("steps", [1, 4])
def test_truncated_is_the_derivative_of_the_steps(inner, steps):
    problem = curved(inner())
    for _ in range(3):  # so that averages are not those of the beginning
        problem.inner_step()
    expected = differences(problem, lambda: after_steps(problem, steps))
    close(bilevel.TruncatedUnroll(steps)(problem), expected, 1e-6)


@every_inner
@pytest.mark.parametrize("steps", [1, 6])
def test_forward_and_reverse_agree(inner, steps):
    problem = curved(inner())
    for _ in range(3):
        problem.inner_step()
    before = problem.values()
    found = bilevel.ForwardMode(steps)(problem)
    close(found, bilevel.TruncatedUnroll(steps)(problem).gradients, 1e-9)
    for value, kept in zip(problem.values(), before, strict=True):
        np.testing.assert_array_equal(value, kept)


def test_forward_steps_of_ridge_approach_the_optimum():
    ridge = Ridge(1)
    rate = fastest(ridge)
    problem = ridge.problem(GradientDescent(rate), np.zeros((4, 1)))
    close(bilevel.ForwardMode(150)(problem), [ridge.hypergradient()], 1e-6)


@every_inner
def test_one_step_is_truncated_at_one(inner):
    problem = curved(inner())
    for _ in range(3):
        problem.inner_step()
    close(bilevel.OneStepUnroll()(problem), bilevel.TruncatedUnroll(1)(problem).gradients)


@every_inner
def test_differences_agree_with_nested_tapes(inner):
    problem = curved(inner())
    problem.inner_step()
    close(bilevel.FiniteDifferenceUnroll(1e-4)(problem), bilevel.OneStepUnroll()(problem).gradients, 1e-6)


@pytest.mark.parametrize("calls", [1, 7])
def test_aligned_of_ridge(calls, rng):
    """The derivative of a step of gradient descent at the rate, whatever else Adam would do."""
    ridge, rate = Ridge(), 0.03
    w = rng.normal(size=(4, 1))
    problem, aligned = ridge.problem(Adam(rate), w), bilevel.GradientAlignment(5)
    for _ in range(calls):
        result = aligned(problem)
    close(result, [ridge.indirect(w, rate * ridge.outer_gradient(w))])


def test_aligned_averages_over_batches(rng):
    """Of outer losses that differ from call to call, the later ones count for more."""
    ridge, memory = Ridge(), 4.0
    w, shifts = rng.normal(size=(4, 1)), rng.normal(size=(9, 4, 1))
    problem, aligned = ridge.problem(GradientDescent(0.1), w), bilevel.GradientAlignment(memory)
    plain = problem.outer_loss
    for shift in shifts:
        problem.outer_loss = lambda shift=shift: plain() + tf.reduce_sum(shift * problem.inner_variables[0])
        result = aligned(problem)
    shares = (1 - 1 / memory) ** np.arange(len(shifts))[::-1]
    mean = np.tensordot(shares / shares.sum(), ridge.outer_gradient(w) + shifts, 1)
    close(result, [ridge.indirect(w, 0.1 * mean)])


@pytest.mark.parametrize("name", ["gradient-alignment", "f2sa", "bome"])
def test_a_bad_batch_is_reported_and_forgotten(name):
    problem, method, undisturbed = Ridge().problem(GradientDescent(0.01)), ALL[name](), ALL[name]()
    method(problem)
    plain = problem.outer_loss
    problem.outer_loss = lambda: plain() * np.nan
    assert method(problem).meaning == "not finite"
    problem.outer_loss = plain
    undisturbed(problem)
    close(method(problem), undisturbed(problem).gradients)


@pytest.mark.parametrize("name", ["first-order", "finite-difference", "gradient-alignment", "f2sa", "bome"])
def test_no_second_derivatives_are_taken(name):
    """Of losses whose gradients have no derivative of their own."""

    @tf.custom_gradient
    def square(x):
        @tf.custom_gradient
        def slope(upstream, y):
            def refuse(*_):
                raise AssertionError("a second derivative was taken")

            return upstream * 2 * y, refuse

        return x**2, lambda upstream: slope(upstream, x)

    w, a = tf.Variable(np.float64(2.0)), tf.Variable(np.float64(1.5))
    problem = BilevelProblem([w], [a], lambda: square(w - a), lambda: square(w + a), GradientDescent(0.1))
    assert ALL[name]()(problem).converged
    with pytest.raises(AssertionError, match="second derivative"):
        bilevel.OneStepUnroll()(problem)


@every_inner
def test_several_inner_steps_are_single_ones(inner):
    singly, jointly, compiled = curved(inner()), curved(inner()), curved(inner())
    for _ in range(5):
        singly.inner_step()
    jointly.inner_steps(2)
    jointly.inner_steps(3)
    in_graph(lambda problem: problem.inner_steps(5), compiled)
    for other in (jointly, compiled):
        for a, b in zip(other.values(), singly.values(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_differences_are_of_second_order():
    """Ten times closer points, a hundred times smaller error."""
    problem = curved(GradientDescent(0.1))
    exact = bilevel.OneStepUnroll()(problem).gradients[0].numpy()
    errors = [
        np.abs(bilevel.FiniteDifferenceUnroll(s)(problem).gradients[0].numpy() - exact).max()
        for s in (0.1, 0.01)
    ]
    assert 50 < errors[0] / errors[1] < 200


def test_neumann_converges_at_the_theoretical_rate():
    """Each term shrinks the residual by the largest eigenvalue of I - rate H."""
    ridge = Ridge()
    values = np.linalg.eigvalsh(ridge.curvature)
    rate = 1 / values.max()
    problem = ridge.problem(GradientDescent(rate))
    left = [float(bilevel.Neumann(k)(problem).residual) for k in (100, 150)]
    assert (left[1] / left[0]) ** (1 / 50) == pytest.approx(1 - rate * values.min(), rel=1e-3)


def test_conjugate_gradient_converges_at_the_theoretical_rate():
    """Within the bound by the condition number, and exactly after as many steps as unknowns."""
    ridge = Ridge(features=6)
    condition = np.linalg.cond(ridge.curvature)
    problem = ridge.problem(GradientDescent(0.01))
    shrink = (np.sqrt(condition) - 1) / (np.sqrt(condition) + 1)
    exact = np.linalg.solve(ridge.curvature, ridge.outer_gradient(ridge.optimum))
    energy = np.sqrt((exact * (ridge.curvature @ exact)).sum())
    for k in range(1, 6):
        residual = float(bilevel.ConjugateGradient(k, tolerance=1e-14)(problem).residual)
        # The bound is on the error in the energy norm; the residual is at most this multiple of it.
        scale = np.sqrt(np.linalg.eigvalsh(ridge.curvature).max()) * energy
        assert residual <= 2 * shrink**k * scale / np.linalg.norm(ridge.outer_gradient(ridge.optimum))
    assert bilevel.ConjugateGradient(6, tolerance=1e-9)(problem).converged


def test_damping_is_added_to_the_curvature():
    ridge = Ridge()
    w, more = ridge.optimum, ridge.curvature + 0.5 * np.eye(4)
    expected = ridge.indirect(w, np.linalg.solve(more, ridge.outer_gradient(w)))
    close(
        bilevel.ConjugateGradient(tolerance=1e-12, damping=0.5)(ridge.problem(GradientDescent(1.0))),
        [expected],
    )


def test_strategies_agree_on_a_quadratic():
    """At the optimum: implicit ones and many steps; and one step is the first term of the series."""
    ridge = Ridge(5)
    inner = GradientDescent(fastest(ridge))
    problem = ridge.problem(inner)
    solved = [
        bilevel.ConjugateGradient(tolerance=1e-12),
        lambda problem: in_graph(bilevel.Neumann(1500), problem),
        bilevel.TruncatedUnroll(1500 // 4),
    ]
    results = [s(problem).gradients[0].numpy() for s in solved]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-6)
    one = bilevel.OneStepUnroll()(problem).gradients[0].numpy()
    first = bilevel.Neumann(1, tolerance=10.0)(problem).gradients[0].numpy()
    np.testing.assert_allclose(first, one, rtol=1e-10)


def test_first_order_is_the_direct_part():
    problem = curved(GradientDescent(0.1))
    close(bilevel.FirstOrder()(problem), differences(problem, lambda: float(problem.outer_loss())), 1e-8)


def test_preconditioned_series_has_the_same_limit():
    """Adam's step lengths change the way, not the solution."""
    ridge = Ridge(2)
    adam = Adam(0.05, epsilon=1.0)
    problem = ridge.problem(adam)
    problem.state = [tf.constant(1000.0, tf.float64), *(tf.constant(np.full((4, 1), v)) for v in (0.0, 0.3))]
    close(in_graph(bilevel.Neumann(5000), problem), [ridge.hypergradient()], 1e-6)


@pytest.mark.parametrize("name", ALL)
def test_variables_stay_where_they_are(name):
    problem = curved(Adam(0.1))
    before = [v.numpy() for v in (*problem.inner_variables, *problem.outer_variables)]
    ALL[name]()(problem)
    for variable, value in zip((*problem.inner_variables, *problem.outer_variables), before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("name", ALL)
def test_the_same_in_a_graph(name):
    problem = Ridge(1).problem(GradientDescent(0.02))
    eager = ALL[name]()(problem)
    graph = in_graph(ALL[name](), problem)
    for a, b in zip(tf.nest.flatten(graph), tf.nest.flatten(eager), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_not_finite_is_reported(name):
    w, a = tf.Variable(np.float64(1.0)), tf.Variable(np.float64(2.0))
    problem = BilevelProblem(
        [w], [a], lambda: (w - a) ** 2, lambda: w**2 + tf.math.log(-(a**2)), GradientDescent(0.1)
    )
    result = ALL[name]()(problem)
    assert not result.converged
    assert result.meaning == "not finite"


def test_unconverged_is_reported():
    problem = Ridge().problem(GradientDescent(0.001))
    for strategy in (bilevel.Neumann(3), bilevel.ConjugateGradient(1)):
        result = strategy(problem)
        assert result.meaning == "not converged"
        assert float(result.residual) > 0.01


def test_divergence_of_the_series_is_reported():
    problem = Ridge().problem(GradientDescent(10.0))
    result = bilevel.Neumann(50)(problem)
    assert not result.converged
    assert float(result.residual) > 1


def test_negative_curvature_is_reported():
    w, a = tf.Variable(np.array([1.0, 1.0])), tf.Variable(np.float64(2.0))
    problem = BilevelProblem(
        [w],
        [a],
        lambda: a * (w[0] ** 2 - w[1] ** 2),
        lambda: tf.reduce_sum(w * [1.0, 3.0]),
        GradientDescent(0.1),
    )
    assert "negative curvature" in bilevel.ConjugateGradient()(problem).meaning


def test_cost_counts_gradients():
    problem = Ridge().problem(GradientDescent(0.02))
    costs = {name: int(strategy()(problem).cost) for name, strategy in ALL.items()}
    assert costs["first-order"] == 1
    assert costs["one-step"] == 4
    assert costs["gradient-alignment"] == 3
    assert costs["truncated"] == 1 + 3 * ALL["truncated"]().steps
    assert costs["f2sa"] == 3 + 2 * ALL["f2sa"]().steps
    assert costs["bome"] == 3
    assert costs["neumann"] == 3 + 2 * ALL["neumann"]().terms
    # Four unknowns: conjugate gradients end after four products.
    assert costs["conjugate-gradient"] <= 3 + 2 * 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bilevel.TruncatedUnroll(0), "steps"),
        (lambda: bilevel.Neumann(-1), "terms"),
        (lambda: bilevel.ConjugateGradient(damping=-1.0), "damping"),
        (lambda: bilevel.FiniteDifferenceUnroll(0.0), "size"),
        (lambda: bilevel.GradientAlignment(0.5), "memory"),
        (lambda: bilevel.F2SA(0.0), "penalty"),
        (lambda: bilevel.F2SA(steps=0), "steps"),
        (lambda: bilevel.BOME(-1.0), "barrier"),
        (lambda: GradientDescent(-0.1), "rate"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_bad_problems():
    w = tf.Variable(1.0)
    with pytest.raises(InputError, match="both levels"):
        BilevelProblem([w], [w], lambda: w**2, lambda: w**2)
    with pytest.raises(InputError, match="outer_variables"):
        BilevelProblem([w], [], lambda: w**2, lambda: w**2)
