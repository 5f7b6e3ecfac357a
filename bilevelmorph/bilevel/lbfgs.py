"""Limited-memory BFGS as an inner optimiser, for losses without noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from bilevelmorph.bilevel.inner_optimizer import InnerOptimizer
from bilevelmorph.bilevel.learned_inverse import LearnedInverse, dot, epsilon
from bilevelmorph.errors import positive

if TYPE_CHECKING:
    from bilevelmorph.bilevel.problem import BilevelProblem

Tensors = list[tf.Tensor]
# Share of the fall that the slope promises which a step must keep (Armijo).
_FALL = 1e-4
# A step that was too long is shortened to between these shares of it.
_SHORTEST, _LONGEST = 0.1, 0.5
# Where the length falls below this, what was learned is forgotten.
_TOO_SHORT = 1e-8


class LBFGS(InnerOptimizer):
    """Limited-memory BFGS with a backtracking line search.

    It learns the inverse of the Hessian from its steps and the changes of the gradient along them, and so
    needs fewer gradients than gradient descent where the inner problem is badly conditioned. The loss must
    be the same function in every step: no noise, no other batch. Between calls it may change a little, as
    when the outer variables move: what was learned stays in the state and helps in the next call. A graph
    keeps it from call to call only if it takes and returns the state.

    Each step takes one gradient. Where the loss has not fallen enough after a step, the variables stay as
    they were and the next step is shorter, by quadratic interpolation. Pairs along which the curvature is not
    positive are not learned.

    `update` and `precondition`, and with them `Neumann` and the unrolled methods, take the learned inverse as
    fixed. `Neumann` converges only where that is close to the inverse of the Hessian; `ConjugateGradient`
    does not depend on it.

    Args:
        rate: Learning rate before the first pair is learned, a number or a tensor.
        memory: Number of pairs kept.
        tolerance: Norm of the gradient below which no more steps are taken.

    Reference: Liu and Nocedal, Mathematical Programming 1989.

    >>> w, a = tf.Variable([2.0, 1.0]), tf.Variable([1.0, 10.0])
    >>> from bilevelmorph.bilevel import BilevelProblem
    >>> loss = lambda: tf.reduce_sum(a * (w - 3) ** 2)
    >>> problem = BilevelProblem([w], [a], loss, loss, LBFGS(0.1))
    >>> int(problem.inner_steps(12)) <= 13, bool(tf.reduce_all(abs(w - 3) < 1e-4))
    (True, True)
    """

    def __init__(self, rate: Any = 1.0, memory: int = 10, tolerance: float = 1e-8) -> None:
        self.rate = rate if tf.is_tensor(rate) else positive("rate", rate)
        self.memory = int(positive("memory", memory, whole=True))
        self.tolerance = positive("tolerance", tolerance, zero=True)

    def initial_state(self, values: Tensors) -> Tensors:
        learned = LearnedInverse.none(_joined(values), self.memory, self.rate)
        return [tf.ones([], values[0].dtype), *learned]

    def update(self, values: Tensors, gradients: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        step = self.precondition(gradients, state)
        return [v - s for v, s in zip(values, step, strict=True)], state

    def precondition(self, vectors: Tensors, state: Tensors) -> Tensors:
        return _parted(LearnedInverse(*state[1:]).times(_joined(vectors)), vectors)

    def steps(self, problem: BilevelProblem, count: int, state: Tensors) -> tuple[Tensors, tf.Tensor]:
        before = problem.values()

        def evaluate(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            problem.assign(_parted(at, before))
            loss, gradients = problem.inner_slope()
            return loss, _joined(gradients)

        def go_on(k: tf.Tensor, size: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
            return (k < count) & (size > self.tolerance**2)

        def body(k: tf.Tensor, size: tf.Tensor, *parts: tf.Tensor) -> tuple[tf.Tensor, ...]:
            at, loss, slope, length, *learned = parts
            inverse = LearnedInverse(*learned)
            step = -length * inverse.times(slope)
            loss_there, slope_there = evaluate(at + step)
            size_there, fall = dot(slope_there, slope_there), dot(slope, step)
            rounding = 10 * epsilon(loss) * abs(loss)
            taken = (loss_there <= loss + _FALL * fall + rounding) & tf.math.is_finite(size_there)
            length = tf.where(taken, tf.ones_like(length), length * _shortening(fall, loss_there - loss))
            useless = length < _TOO_SHORT
            length = tf.where(useless, tf.ones_like(length), length)
            inverse = inverse.after(step, slope_there - slope, taken).unless(useless, self.rate)
            there, here = (size_there, at + step, loss_there, slope_there), (size, at, loss, slope)
            now = [tf.where(taken, new, old) for new, old in zip(there, here, strict=True)]
            return (k + 1, *now, length, *inverse)

        start = _joined(before)
        loss, slope = evaluate(start)
        values = (tf.constant(0), dot(slope, slope), start, loss, slope, *state)
        k, _, at, _, _, *state = tf.while_loop(go_on, body, values, parallel_iterations=1)
        problem.assign(_parted(at, before))
        return list(state), k + 1


def _shortening(fall: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
    """Where along a step the parabola through the loss at both its ends has its minimum.

    Args:
        fall: Derivative of the loss along the step at its beginning, below 0.
        change: Of the loss over the whole step; may be infinite or not a number.
    """
    excess = 2 * (change - fall)
    lowest = tf.math.divide_no_nan(-fall, excess)
    lowest = tf.where(tf.math.is_finite(excess), lowest, tf.zeros_like(lowest))
    return tf.clip_by_value(lowest, _SHORTEST, _LONGEST)


def _joined(values: Tensors) -> tf.Tensor:
    """All entries as one vector."""
    flat = [tf.reshape(v, [-1]) for v in values]
    return flat[0] if len(flat) == 1 else tf.concat(flat, 0)


def _parted(vector: tf.Tensor, like: Tensors) -> Tensors:
    """What `_joined` made one vector of."""
    sizes = [math.prod(v.shape) for v in like]
    return [tf.reshape(x, v.shape) for x, v in zip(tf.split(vector, sizes), like, strict=True)]
