"""Run every method on every problem, judge what they found, and draw and tabulate it.

python -m benchmarks.bilevel --peers runs/peers --out runs/bilevel [--problems ridge ...] [--repeats 1]

What has run already is not run again: after an interruption, give the same command.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.bilevel.clock import read
from benchmarks.bilevel.environments import interpreter
from benchmarks.bilevel.figure import OURS, draw, summary, table
from benchmarks.bilevel.problems import PROBLEMS, save

# Environment, module, and the methods that it runs.
PEERS = {
    "jaxopt_peer": ("jax", ("jaxopt-descent", "jaxopt-lbfgs")),
    "torchopt_peer": ("torch", ("torchopt",)),
    "optuna_peer": ("jax", ("optuna",)),
}
# Shares of the gap between start and solution that are left when time is taken.
LEFT = (0.1, 0.01)


def run(name: str, scale: float, seconds: float, peers: Path, out: Path) -> None:
    """Start what has not run yet on a problem, each library in a process of its own."""
    where = str(out.parent.parent / "problems" / f"{name}.npz"), str(seconds), str(scale), str(out)
    left = tuple(m for m in OURS if not (out / f"{m}.npz").exists())
    jobs = [("ours", Path(sys.executable), left)]
    jobs += [(module, interpreter(peers, env), made) for module, (env, made) in PEERS.items()]
    for module, python, made in jobs:
        if all((out / f"{m}.npz").exists() for m in made):
            continue
        print(f"{name}: {', '.join(made)}", flush=True)
        extra = made if module == "ours" else ()
        subprocess.run(
            [str(python), "-W", "ignore", "-m", f"benchmarks.bilevel.{module}", *where, *extra], check=True
        )


def fastest(folders: list[Path], method: str) -> dict[float, dict[str, np.ndarray]]:
    """The runs of a method, by step size; of repeats, which take the same way, the least time."""
    runs = read(folders[0] / f"{method}.npz")
    for folder in folders[1:]:
        for rate, again in read(folder / f"{method}.npz").items():
            times = dict(zip(again["calls"], again["seconds"], strict=True))
            seconds = [
                min(s, times.get(c, s))
                for c, s in zip(runs[rate]["calls"], runs[rate]["seconds"], strict=True)
            ]
            runs[rate]["seconds"] = np.array(seconds)
    return runs


def first_below(judge: Any, run: dict[str, np.ndarray], goal: float) -> int | None:
    """The first moment at which a run is at the goal, found by halving; None if its end is not."""
    low, high = 0, len(run["outer"]) - 1
    if judge.loss(run["outer"][high]) > goal:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if judge.loss(run["outer"][middle]) <= goal else (middle + 1, high)
    return high


def judged(judge: Any, name: str, folders: list[Path]) -> dict[str, Any]:
    """For every method the times to the goals at its best step size, and the loss over time there."""
    methods = [*OURS, *(m for _, made in PEERS.values() for m in made)]
    runs = {m: fastest(folders, m) for m in methods}
    start = judge.loss(judge.problem.outer_start)
    ends = {m: {rate: judge.loss(r["outer"][-1]) for rate, r in runs[m].items()} for m in methods}
    lowest = judge.problem.lowest
    if lowest is None:
        lowest = min(judge.reference(60), *(end for by_rate in ends.values() for end in by_rate.values()))
    rows: dict[str, Any] = {}
    for method in methods:
        row: dict[str, Any] = {"to": {}}
        for left in LEFT:
            goal, found = lowest + left * (start - lowest), []
            for rate, r in runs[method].items():
                at = first_below(judge, r, goal)
                if at is not None:
                    found.append((float(r["seconds"][at]), int(r["calls"][at]), rate))
            if found:
                row["to"][str(left)] = min(found)
        last = [to[2] for to in row["to"].values()]
        rate = last[-1] if last else min(ends[method], key=lambda x: ends[method][x])
        best = runs[method][rate]
        shown = np.unique(np.linspace(0, len(best["outer"]) - 1, 18).astype(int))
        gaps = [(judge.loss(best["outer"][k]) - lowest) / (start - lowest) for k in shown]
        row |= {"rate": rate, "gap": gaps, "end": ends[method][rate]}
        row |= {key: best[key][shown].tolist() for key in ("seconds", "calls")}
        if name.startswith("cleaning"):
            row["accuracy"] = judge.accuracy()
        rows[method] = row
    judge.loss(judge.problem.outer_start)
    first = judge.accuracy() if name.startswith("cleaning") else None
    return {"start": start, "lowest": lowest, "accuracy": first, "methods": rows}


def main() -> None:
    from benchmarks.bilevel.judge import Judge

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peers", type=Path, required=True, help="folder made by benchmarks.bilevel.environments"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    kept = options.out / "results.json"
    results = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for name in options.problems:
        problem = save(name, options.out / "problems" / f"{name}.npz")
        judge = Judge(problem)
        judge.loss(problem.outer_start)
        scale = float(np.abs(judge.hypergradient()).max())
        folders = [options.out / f"repeat-{k}" / name for k in range(options.repeats)]
        for folder in folders:
            run(name, scale, 1.0 if name.startswith("cleaning") else 0.3, options.peers, folder)
        results[name] = judged(judge, name, folders)
        results = {key: results[key] for key in PROBLEMS if key in results}
        kept.write_text(json.dumps(results, indent=1), encoding="utf-8")
        draw(results, options.out / "bilevel.png")
        (options.out / "table.md").write_text(summary(results) + "\n" + table(results), encoding="utf-8")
    print(summary(results))


if __name__ == "__main__":
    main()
