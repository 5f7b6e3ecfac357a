"""How every library is timed: the same outer descent, the same moments at which it is looked at."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol

import numpy as np

# Inner steps before each outer one, iterations or terms of each linear solve.
INNER_STEPS, SOLVE = 10, 10
# The most outer steps in a run.
MOST = 40_000
# Step sizes of the outer descent that every method is tried with. At 1 the largest entry of the first
# hypergradient moves its variable by 1.
RATES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Descent(Protocol):
    """An outer descent in one library, by steps along hypergradients."""

    def reset(self, rate: float) -> None:
        """Go back to the start."""

    def advance(self) -> int:
        """Take a `chunk` of outer steps, wait for them, and say how many gradients they took."""

    def outer(self) -> np.ndarray:
        """The outer variables."""


def one_core() -> None:
    """Keep this process, and the threads that libraries start later, on one core."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})


def chunk(outer: np.ndarray) -> int:
    """Outer steps in a call of a compiled function: so many that the call itself costs little."""
    return 20 if outer.size < 100 else 2


def descend(descent: Descent, rate: float, seconds: float) -> dict[str, np.ndarray]:
    """Run a descent for some time.

    Time is that of the processor, since others may use it, and begins after one call for compilation.
    It stops while the outer variables are copied.

    Returns:
        Seconds, gradients taken and outer variables at about 40 moments, evenly on a logarithmic scale.
    """
    descent.reset(rate)
    descent.advance()
    descent.reset(rate)
    rows, spent, calls, due = [(0.0, 0, descent.outer())], 0.0, 0, 1
    for k in range(1, MOST // chunk(rows[0][2]) + 1):
        began = time.process_time()
        calls += descent.advance()
        spent += time.process_time() - began
        if k >= due or spent > seconds:
            rows.append((spent, calls, descent.outer()))
            due = max(k + 1, int(1.2 * k))
        if spent > seconds or not np.isfinite(rows[-1][2]).all():
            break
    return {
        key: np.array(x)
        for key, x in zip(("seconds", "calls", "outer"), zip(*rows, strict=True), strict=True)
    }


def write(path: Path, runs: dict[float, dict[str, np.ndarray]]) -> None:
    """Save the runs of a method on a problem, by step size, in one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"{rate} {key}": x for rate, run in runs.items() for key, x in run.items()}
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **arrays)
    partial.replace(path)


def read(path: Path) -> dict[float, dict[str, np.ndarray]]:
    """What `write` saved."""
    runs: dict[float, dict[str, np.ndarray]] = {}
    with np.load(path) as file:
        for name in file:
            rate, key = name.split()
            runs.setdefault(float(rate), {})[key] = file[name]
    return runs
