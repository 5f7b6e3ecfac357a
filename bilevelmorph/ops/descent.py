"""Descent on a displacement: a smoothed gradient step, composition, and smoothing of the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from bilevelmorph.ops.derivatives import jacobian_determinant
from bilevelmorph.ops.warping import compose
from bilevelmorph.ops.windows import gaussian_smooth
from bilevelmorph.ops.xla import xla_jit

# The terms of an objective, ``[B, K]``, and the gradient of their sum, like the displacement.
Objective = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class DescentState(NamedTuple):
    """State of a descent, separate for every sample of the batch.

    Attributes:
        displacement: Present displacement, ``[B, *S, N]`` voxels.
        best: Displacement with the lowest objective so far.
        begun: Objective at the start, ``[B]``.
        terms: Terms of the objective at `best`, ``[B, K]``.
        mark: Objective at the last notable gain, ``[B]``.
        stalled: Number of iterations since then, ``[B]``.
        taken: Number of iterations, ``[B]``.
        broken: Index of the first term that was not finite, ``[B]``; -1 if all were.

    >>> state = DescentState.of(tf.zeros([1, 8, 8, 2]), tf.constant([[0.5, 0.1]]))
    >>> round(float(state.objective[0]), 3), int(state.broken[0])
    (0.6, -1)
    """

    displacement: tf.Tensor
    best: tf.Tensor
    begun: tf.Tensor
    terms: tf.Tensor
    mark: tf.Tensor
    stalled: tf.Tensor
    taken: tf.Tensor
    broken: tf.Tensor

    @classmethod
    def of(cls, displacement: tf.Tensor, terms: tf.Tensor) -> DescentState:
        """The state at the start.

        Args:
            displacement: ``[B, *S, N]`` voxels.
            terms: Terms of the objective there, ``[B, K]``.
        """
        count = tf.zeros(tf.shape(terms)[:1], tf.int32)
        total = tf.reduce_sum(terms, -1)
        return cls(displacement, displacement, total, terms, total, count, count, _first_broken(terms))

    @property
    def objective(self) -> tf.Tensor:
        """The lowest objective so far, ``[B]``."""
        return tf.reduce_sum(self.terms, -1)

    def active(self, patience: int) -> tf.Tensor:
        """The samples that go on, ``[B]`` booleans."""
        return (self.stalled < patience) & (self.broken < 0)


def descend(
    start: tf.Tensor,
    objective: Objective,
    iterations: Any,
    step: Any = 1.0,
    update_sigma: Any = 1.2,
    warp_sigma: Any = 0.5,
    tolerance: float = 1e-4,
    patience: int = 10,
    radii: tuple[int | None, int | None] = (None, None),
    on_iteration: Callable[[], None] | None = None,
) -> DescentState:
    """Minimise an objective of the displacement.

    An iteration smooths the gradient, scales it so that the largest move is `step`, composes
    it with the displacement and smooths the result slightly. A sample stops when it no
    longer gains; its result is its best displacement.

    Args:
        start: Displacement to start from, ``[B, *S, N]`` voxels.
        objective: Function that returns the terms of the objective, ``[B, K]``, and the
            gradient of their sum, ``[B, *S, N]``.
        iterations: Number of iterations.
        step: Largest move of an iteration, in voxels.
        update_sigma, warp_sigma: Standard deviations, in voxels, of the smoothing of the
            gradient and of the displacement.
        tolerance: Relative gain that counts.
        patience: Iterations without such a gain after which a sample stops.
        radii: Radii of the two smoothing kernels, needed if their deviations are tensors.
        on_iteration: Called after each iteration; not possible where XLA compiles the whole.

    Returns:
        `DescentState` after the last iteration.

    Reference: Yushkevich et al., Alzheimer's and Dementia 2016 (Greedy); Avants et al., MedIA 2008.

    >>> def squared_distance(u):  # to a displacement of one voxel
    ...     return tf.reduce_mean((u - 1.0) ** 2, 1), u - 1.0
    >>> state = descend(tf.zeros([1, 9, 1]), squared_distance, 5, step=0.5)
    >>> round(float(state.best[0, 4, 0]), 3)
    1.0
    """
    terms, gradient = objective(start)
    state = DescentState.of(start, terms)

    def advance(k: Any, gradient: tf.Tensor, *parts: tf.Tensor) -> tuple[Any, ...]:
        now = DescentState(*parts)
        there = updated(now.displacement, gradient, step, update_sigma, warp_sigma, radii)
        there = chosen(now.active(patience), there, now.displacement)
        terms, gradient = objective(there)
        if on_iteration is not None:
            tf.numpy_function(on_iteration, [], [])
        return (k + 1, gradient, *_judged(now, there, terms, tolerance, patience))

    def go_on(k: Any, gradient: tf.Tensor, *parts: tf.Tensor) -> tf.Tensor:
        return (k < iterations) & tf.reduce_any(DescentState(*parts).active(patience))

    found = tf.while_loop(go_on, advance, (tf.constant(0), gradient, *state), parallel_iterations=1)
    return DescentState(*found[2:])


def updated(
    displacement: tf.Tensor,
    gradient: tf.Tensor,
    step: Any,
    update_sigma: Any,
    warp_sigma: Any,
    radii: tuple[int | None, int | None] = (None, None),
    scale: tf.Tensor | None = None,
) -> tf.Tensor:
    """The displacement after one iteration of `descend`.

    Args:
        displacement, gradient: ``[B, *S, N]``.
        step, update_sigma, warp_sigma, radii: See `descend`.
        scale: Length of the smoothed gradient at which the move is `step`; its largest by default.

    Returns:
        ``[B, *S, N]``.

    >>> updated(tf.zeros([1, 5, 1]), tf.fill([1, 5, 1], 7.0), 0.5, 1.0, 0.0)[0, :, 0].numpy().tolist()
    [-0.5, -0.5, -0.5, -0.5, -0.5]
    """
    smooth = gaussian_smooth(gradient, update_sigma, radii[0])
    step = tf.cast(step, gradient.dtype)
    move = _limited(smooth, step) if scale is None else -step / scale * smooth
    return gaussian_smooth(compose(displacement, move), warp_sigma, radii[1])


@xla_jit
def largest(field: tf.Tensor) -> tf.Tensor:
    """Largest length of the vectors of each sample of ``[B, *S, N]``, ``[B, 1, ..., 1]``.

    >>> largest(tf.constant([[[0.0, 1.0], [3.0, 4.0]]])).numpy().tolist()
    [[[5.0]]]
    """
    return tf.sqrt(_largest_square(field))


def _largest_square(field: tf.Tensor) -> tf.Tensor:
    axes = list(range(1, field.shape.rank - 1))
    square = tf.reduce_max(tf.reduce_sum(tf.square(field), -1), axes, keepdims=True)[..., None]
    return tf.maximum(square, 1e-36)


@xla_jit
def _limited(gradient: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """The step against the gradient whose largest move in each sample is `step`."""
    return gradient * (-step * tf.math.rsqrt(_largest_square(gradient)))


def _judged(
    state: DescentState, there: tf.Tensor, terms: tf.Tensor, tolerance: float, patience: int
) -> DescentState:
    """The state after a move; samples that have stopped keep theirs."""
    active = state.active(patience)
    total = tf.reduce_sum(terms, -1)
    broken = _first_broken(terms)
    better = active & (broken < 0) & (total < state.objective)
    notable = active & (total < state.mark - tolerance * tf.abs(state.mark))
    stalled = tf.where(notable, 0, state.stalled + 1)
    return DescentState(
        there,
        chosen(better, there, state.best),
        state.begun,
        tf.where(better[:, None], terms, state.terms),
        tf.where(notable, total, state.mark),
        tf.where(active, stalled, state.stalled),
        state.taken + tf.cast(active, tf.int32),
        tf.where(active, broken, state.broken),
    )


def _first_broken(terms: tf.Tensor) -> tf.Tensor:
    bad = ~tf.math.is_finite(terms)
    first = tf.argmax(tf.cast(bad, tf.int32), -1, tf.int32)
    return tf.where(tf.reduce_any(bad, -1), first, -1)


def chosen(first: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Select `a` for some samples and `b` for the others; a single sample is not copied.

    Args:
        first: ``[B]`` booleans.
        a, b: ``[B, ...]``.

    >>> chosen(tf.constant([True, False]), tf.ones([2, 1]), tf.zeros([2, 1]))[:, 0].numpy().tolist()
    [1.0, 0.0]
    """
    if a.shape[0] == 1:
        return tf.cond(first[0], lambda: a, lambda: b)
    return tf.where(tf.reshape(first, [-1] + [1] * (a.shape.rank - 1)), a, b)


def unfold(displacement: tf.Tensor, least: float = 0.05, rounds: int = 20, sigma: float = 1.0) -> tf.Tensor:
    """Smooth a displacement where it folds, and only there, until it folds no more.

    Args:
        displacement: ``[B, *S, N]`` voxels, sizes of at least 2.
        least: Jacobian determinant below which a voxel counts as folded.
        rounds: Largest number of repetitions.
        sigma: Standard deviation of the smoothing, in voxels.

    Returns:
        ``[B, *S, N]``; equal to the input a few voxels away from the folds.

    >>> folded = tf.reshape(tf.constant([0.0, 0.0, 3.0, 0.0, 0.0, 0.0]), [1, 6, 1])
    >>> bool(tf.reduce_min(jacobian_determinant(unfold(folded))) > 0)
    True
    """

    def folds(field: tf.Tensor) -> tf.Tensor:
        return jacobian_determinant(field) < least

    def repair(k: Any, field: tf.Tensor, where: tf.Tensor) -> tuple[Any, tf.Tensor, tf.Tensor]:
        near = gaussian_smooth(tf.cast(where, field.dtype)[..., None], 1.5 * sigma)
        weight = tf.minimum(1.0, 6 * near)
        field = field + weight * (gaussian_smooth(field, sigma) - field)
        return k + 1, field, folds(field)

    def go_on(k: Any, field: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
        return (k < rounds) & tf.reduce_any(where)

    begin = (tf.constant(0), displacement, folds(displacement))
    return tf.while_loop(go_on, repair, begin, parallel_iterations=1)[1]
