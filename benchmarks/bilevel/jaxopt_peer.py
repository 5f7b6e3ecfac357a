"""JAXopt's implicit differentiation on one problem, each outer iteration compiled by XLA.

python -m benchmarks.bilevel.jaxopt_peer PROBLEM SECONDS SCALE OUT, where jax and jaxopt are installed.
"""

from __future__ import annotations

import sys
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.bilevel.clock import INNER_STEPS, RATES, SOLVE, chunk, descend, one_core, write

one_core()
warnings.filterwarnings("ignore", category=DeprecationWarning)

import jax  # noqa: E402  (its threads must start on one core)
import jax.numpy as jnp  # noqa: E402
import jaxopt  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.bilevel.problems import Problem, load  # noqa: E402

FUNCTIONS = SimpleNamespace(
    sum=jnp.sum,
    mean=jnp.mean,
    sigmoid=jax.nn.sigmoid,
    softplus=jax.nn.softplus,
    logsumexp=lambda x: jax.nn.logsumexp(x, -1, keepdims=True),
)


class JaxoptDescent:
    """See `clock.Descent`.

    Args:
        problem: Problem to solve.
        inner: ``"descent"`` for gradient descent with the step size of all methods, or ``"lbfgs"``.
        scale: Largest entry of the first hypergradient.
    """

    def __init__(self, problem: Problem, inner: str, scale: float) -> None:
        self.start, self.scale = problem, scale
        data = {key: jnp.asarray(x) for key, x in problem.data.items()}

        def inner_loss(w: Any, outer: Any) -> Any:
            return problem.inner_loss(FUNCTIONS, data, outer, w)

        solve = partial(jaxopt.linear_solve.solve_cg, maxiter=SOLVE, tol=1e-6)
        usual: dict[str, Any] = {
            "maxiter": INNER_STEPS,
            "tol": 0.0,
            "implicit_diff_solve": solve,
            "jit": True,
        }
        if inner == "descent":
            rate = 1 / problem.curvature
            solver: Any = jaxopt.GradientDescent(inner_loss, stepsize=rate, acceleration=False, **usual)
        else:
            solver = jaxopt.LBFGS(inner_loss, **usual)

        def outer_loss(outer: Any, w: Any) -> Any:
            w, state = solver.run(w, outer)
            calls = state.num_grad_eval if inner == "lbfgs" else state.iter_num
            return problem.outer_loss(FUNCTIONS, data, outer, w), (w, calls)

        def iteration(_: Any, values: Any) -> Any:
            outer, w, rate, calls = values
            slope, (w, more) = jax.grad(outer_loss, has_aux=True)(outer, w)
            # The solve may stop early, which cannot be seen from outside: counted in full.
            return outer - rate * slope, w, rate, calls + more + 3 + 2 * SOLVE

        count = chunk(problem.outer_start)
        self._chunk = jax.jit(lambda values: jax.lax.fori_loop(0, count, iteration, values))

    def reset(self, rate: float) -> None:
        self.values = (
            jnp.asarray(self.start.outer_start),
            jnp.asarray(self.start.inner_start),
            jnp.asarray(rate / self.scale),
            jnp.asarray(0),
        )
        self.before = 0

    def advance(self) -> int:
        self.values = jax.block_until_ready(self._chunk(self.values))
        now = int(self.values[3])
        self.before, taken = now, now - self.before
        return taken

    def outer(self) -> np.ndarray:
        return np.asarray(self.values[0])


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    name, seconds, scale, out = sys.argv[1:]
    for inner in ("descent", "lbfgs"):
        descent = JaxoptDescent(load(Path(name)), inner, float(scale))
        runs = {rate: descend(descent, rate, float(seconds)) for rate in RATES}
        write(Path(out) / f"jaxopt-{inner}.npz", runs)


if __name__ == "__main__":
    main()
