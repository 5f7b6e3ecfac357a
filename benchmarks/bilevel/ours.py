"""The methods of this library on one problem, all outer iterations compiled by XLA as one loop.

python -m benchmarks.bilevel.ours PROBLEM SECONDS SCALE OUT [METHOD ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.bilevel.clock import INNER_STEPS, RATES, SOLVE, chunk, descend, one_core, write

if __name__ == "__main__":
    one_core()

import numpy as np
import tensorflow as tf

import bilevelmorph as bm
from benchmarks.bilevel.problems import Problem, load

FUNCTIONS = SimpleNamespace(
    sum=tf.reduce_sum,
    mean=tf.reduce_mean,
    sigmoid=tf.sigmoid,
    softplus=tf.nn.softplus,
    logsumexp=lambda x: tf.reduce_logsumexp(x, -1, keepdims=True),
)
Made = tuple[Callable[[], bm.bilevel.HypergradientMethod], Callable[[float], bm.bilevel.InnerOptimizer]]
# The method and, of the step size of gradient descent, the inner optimiser.
METHODS: dict[str, Made] = {
    "conjugate-gradient": (lambda: bm.bilevel.ConjugateGradient(SOLVE), bm.bilevel.GradientDescent),
    "momentum": (
        lambda: bm.bilevel.ConjugateGradient(SOLVE),
        lambda rate: bm.bilevel.GradientDescent(rate, 0.9),
    ),
    "lbfgs": (lambda: bm.bilevel.ConjugateGradient(SOLVE), bm.bilevel.LBFGS),
    "neumann": (lambda: bm.bilevel.Neumann(SOLVE), bm.bilevel.GradientDescent),
    "one-step": (bm.bilevel.OneStepUnroll, bm.bilevel.GradientDescent),
    "f2sa": (lambda: bm.bilevel.F2SA(100.0, SOLVE), bm.bilevel.GradientDescent),
    "bome": (bm.bilevel.BOME, bm.bilevel.GradientDescent),
}


def on_tensors(
    problem: Problem, inner: Callable[[float], bm.bilevel.InnerOptimizer] = bm.bilevel.GradientDescent
) -> tuple[bm.bilevel.BilevelProblem, Any, Any]:
    """The problem at its start, its inner and its outer variable."""
    data = {key: tf.constant(x) for key, x in problem.data.items()}
    w, outer = tf.Variable(problem.inner_start), tf.Variable(problem.outer_start)
    bilevel = bm.bilevel.BilevelProblem(
        [w],
        [outer],
        lambda: problem.inner_loss(FUNCTIONS, data, outer, w),
        lambda: problem.outer_loss(FUNCTIONS, data, outer, w),
        inner(1 / problem.curvature),
    )
    return bilevel, w, outer


class OurDescent:
    """See `clock.Descent`.

    Args:
        problem: Problem to solve.
        method: Name of the method, from `METHODS`.
        scale: Largest entry of the first hypergradient.
    """

    def __init__(self, problem: Problem, method: str, scale: float) -> None:
        self.start, self.scale = problem, scale
        made, inner = METHODS[method]
        self.bilevel, self.w, self.variable = on_tensors(problem, inner)
        self.method = made()
        self.method.build([self.w])
        self.rate = tf.Variable(0.0, dtype=tf.float64)
        bilevel = self.bilevel

        def iteration(k: tf.Tensor, calls: tf.Tensor, *state: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # Momentum begins anew in every outer iteration; what L-BFGS learned is kept.
            anew = bilevel.optimizer.initial_state(bilevel.values())
            bilevel.state = anew if method == "momentum" else list(state)
            taken = bilevel.inner_steps(INNER_STEPS)
            found = self.method(bilevel)
            self.variable.assign_sub(self.rate * found.gradients[0])
            return (k + 1, calls + taken + found.cost, *bilevel.state)

        def several(state: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
            count = chunk(problem.outer_start)
            _, calls, *state = tf.while_loop(lambda k, *_: k < count, iteration, (0, 0, *state))
            return calls, state

        self._chunk = tf.function(several, jit_compile=True, autograph=False)

    def reset(self, rate: float) -> None:
        self.rate.assign(rate / self.scale)
        self.w.assign(self.start.inner_start)
        self.variable.assign(self.start.outer_start)
        for variable in self.method.variables:
            variable.assign(tf.zeros_like(variable))
        self.state = self.bilevel.optimizer.initial_state(self.bilevel.values())

    def advance(self) -> int:
        calls, self.state = self._chunk(self.state)
        return int(calls)

    def outer(self) -> np.ndarray:
        return self.variable.numpy()


def main() -> None:
    path, seconds, scale, out, *methods = sys.argv[1:]
    for method in methods or METHODS:
        descent = OurDescent(load(Path(path)), method, float(scale))
        runs = {rate: descend(descent, rate, float(seconds)) for rate in RATES}
        write(Path(out) / f"{method}.npz", runs)


if __name__ == "__main__":
    main()
