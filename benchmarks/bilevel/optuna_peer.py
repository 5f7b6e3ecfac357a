"""Optuna's TPE on one problem, with the outer variables between -10 and 10 and gradient-free.

python -m benchmarks.bilevel.optuna_peer PROBLEM SECONDS SCALE OUT, where optuna and scipy are installed.

A trial solves the inner problem from the last solution, by SciPy's L-BFGS with gradients by JAX.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.bilevel.clock import one_core, write

one_core()

import jax  # noqa: E402  (its threads must start on one core)
import numpy as np  # noqa: E402
import optuna  # noqa: E402
from scipy.optimize import minimize  # noqa: E402

from benchmarks.bilevel.jaxopt_peer import FUNCTIONS  # noqa: E402
from benchmarks.bilevel.problems import Problem, load  # noqa: E402


def search(problem: Problem, seconds: float) -> dict[str, np.ndarray]:
    """Run a study for some time; the moments are those at which a trial was the best so far."""
    shape, size = problem.inner_start.shape, problem.outer_start.size
    inner = jax.jit(
        jax.value_and_grad(
            lambda w, outer: problem.inner_loss(FUNCTIONS, problem.data, outer, w.reshape(shape))
        )
    )
    outer_loss = jax.jit(lambda w, outer: problem.outer_loss(FUNCTIONS, problem.data, outer, w))
    last: dict[str, Any] = {"w": problem.inner_start.ravel(), "calls": 0}

    def objective(trial: optuna.Trial) -> float:
        outer = np.array([trial.suggest_float(str(i), -10, 10) for i in range(size)])[:, None]
        found = minimize(
            lambda w: tuple(np.asarray(x, float) for x in inner(w, outer)),
            last["w"],
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 200},
        )
        last.update(w=found.x, calls=last["calls"] + found.nfev + 1)
        return float(outer_loss(found.x.reshape(shape), outer))

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.enqueue_trial({str(i): float(x) for i, x in enumerate(problem.outer_start.ravel())})
    study.optimize(objective, n_trials=1)  # compiles, and is the start of all methods
    rows, spent, best = [(0.0, 0, problem.outer_start)], 0.0, study.best_value
    last["calls"] = 0
    while spent < seconds:
        began = time.process_time()
        study.optimize(objective, n_trials=1)
        spent += time.process_time() - began
        if study.best_value < best:
            best = study.best_value
            rows.append((spent, last["calls"], np.array(list(study.best_params.values()))[:, None]))
    rows.append((spent, last["calls"], rows[-1][2]))
    columns = zip(*rows, strict=True)
    return {key: np.array(x) for key, x in zip(("seconds", "calls", "outer"), columns, strict=True)}


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    name, seconds, _, out = sys.argv[1:]
    write(Path(out) / "optuna.npz", {1.0: search(load(Path(name)), float(seconds))})


if __name__ == "__main__":
    main()
