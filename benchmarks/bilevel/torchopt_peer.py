"""TorchOpt's implicit differentiation on one problem.

python -m benchmarks.bilevel.torchopt_peer PROBLEM SECONDS SCALE OUT, where torch and torchopt are installed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.bilevel.clock import INNER_STEPS, RATES, SOLVE, chunk, descend, one_core, write

one_core()

import numpy as np  # noqa: E402  (its threads must start on one core)
import torch  # noqa: E402
import torchopt  # noqa: E402

from benchmarks.bilevel.problems import Problem, load  # noqa: E402

FUNCTIONS = SimpleNamespace(
    sum=torch.sum,
    mean=torch.mean,
    sigmoid=torch.sigmoid,
    softplus=torch.nn.functional.softplus,
    logsumexp=lambda x: torch.logsumexp(x, -1, keepdim=True),
)


class TorchoptDescent:
    """See `clock.Descent`.

    Args:
        problem: Problem to solve.
        scale: Largest entry of the first hypergradient.
    """

    def __init__(self, problem: Problem, scale: float) -> None:
        self.start, self.scale = problem, scale
        data = {key: torch.as_tensor(x) for key, x in problem.data.items()}

        def inner_loss(w: Any, outer: Any) -> Any:
            return problem.inner_loss(FUNCTIONS, data, outer, w[0])

        slope = torch.func.grad(inner_loss)
        solve = torchopt.linear_solve.solve_cg(maxiter=SOLVE, rtol=1e-6, atol=0.0)

        @torchopt.diff.implicit.custom_root(slope, argnums=1, solve=solve)
        def solver(w: Any, outer: Any) -> Any:
            x = w[0].detach()
            for _ in range(INNER_STEPS):
                with torch.enable_grad():
                    at = x.requires_grad_()
                    (gradient,) = torch.autograd.grad(inner_loss((at,), outer.detach()), at)
                x = at.detach() - gradient / problem.curvature
            return (x,)

        self.solver = solver
        self.loss = lambda w, outer: problem.outer_loss(FUNCTIONS, data, outer, w)

    def reset(self, rate: float) -> None:
        self.rate = rate / self.scale
        self.w = torch.tensor(self.start.inner_start, requires_grad=True)
        self.variable = torch.tensor(self.start.outer_start, requires_grad=True)

    def advance(self) -> int:
        count = chunk(self.start.outer_start)
        for _ in range(count):
            (w,) = self.solver((self.w,), self.variable)
            (slope,) = torch.autograd.grad(self.loss(w, self.variable), self.variable)
            self.w = w.detach().requires_grad_()
            self.variable = (self.variable - self.rate * slope).detach().requires_grad_()
        # The solve may stop early, which cannot be seen from outside: counted in full.
        return count * (INNER_STEPS + 3 + 2 * SOLVE)

    def outer(self) -> np.ndarray:
        return self.variable.detach().numpy().copy()


def main() -> None:
    torch.set_num_threads(1)
    name, seconds, scale, out = sys.argv[1:]
    descent = TorchoptDescent(load(Path(name)), float(scale))
    runs = {rate: descend(descent, rate, float(seconds)) for rate in RATES}
    write(Path(out) / "torchopt.npz", runs)


if __name__ == "__main__":
    main()
