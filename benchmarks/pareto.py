"""Dice versus run time of networks searched with several weights of time, and of hand-made ones.

Runs a gradient search for each weight, trains the likeliest network, and draws all of them
together with the hand-made networks of autoreg.py. Finished runs are reused.
Run: python benchmarks/pareto.py --data DIR --out DIR --rows DIR --shape 48 64 48
     --search "--search-steps 200 OTHER FLAGS OF search" -- FLAGS OF train
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from autoreg import BY_HAND, scored, trained
from gradients import searched
from interleaved import interleaved_ms

WEIGHTS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)


def figure(path: Path, ours: dict[str, tuple[float, float]], others: dict[str, tuple[float, float]]) -> None:
    """Draw milliseconds and Dice of every network."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(drawn)
    axis = drawn.subplots()
    rightmost = max(ms for points in (ours, others) for ms, _ in points.values())
    under = {"xytext": (2, -6), "rotation": -40, "rotation_mode": "anchor", "va": "top"}
    above = {"xytext": (0, 8), "ha": "center"}
    for points, style, size, label in ((ours, "*", 11, "searched"), (others, "o", 6, "made by hand")):
        if points:
            axis.plot(*zip(*points.values(), strict=True), style, markersize=size, label=label)
        for name, at in points.items():
            side = above if points is ours else under
            axis.annotate(name, at, textcoords="offset points", fontsize=8, **side)
    axis.set(xlabel="ms a pair, one thread", ylabel="Dice on validation pairs", xscale="log")
    axis.set_xticks([t for t in (5, 10, 20, 50, 100, 200, 500) if t <= 2 * rightmost])
    axis.minorticks_off()
    axis.xaxis.set_major_formatter("{x:g}")
    axis.margins(0.12)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="lower right")
    drawn.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with a dataset.json")
    parser.add_argument("--out", required=True)
    parser.add_argument("--rows", help="output folder of autoreg.py, run with the same flags of train")
    parser.add_argument("--shape", type=int, nargs="+", required=True, help="grid size")
    parser.add_argument(
        "--weights", type=float, nargs="+", default=WEIGHTS, help="weights of the expected time"
    )
    parser.add_argument("--search", default="", help="flags of search, as one quoted argument")
    parser.add_argument("flags", nargs="*", help="flags of train, after --")
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    runs = {}
    for weight in options.weights:
        name = f"weight {weight:g}"
        folder = out / f"search-{weight:g}"
        words = ["--data", options.data, "--latency-weight", weight, *shlex.split(options.search)]
        searched(folder, words)
        flags = ["--genotype", str(folder / "genotype.json"), *options.flags]
        runs[name] = trained(out / f"trained-{weight:g}", options.data, flags)
    there = {name: Path(options.rows or ".") / f"{name}-1" for name in BY_HAND}
    runs |= {name: run for name, run in there.items() if (run / "done").is_file()}
    dice = {name: scored(run, options.data, "val")["dice"]["mean"] for name, run in runs.items()}
    ms = interleaved_ms({name: run / "best.keras" for name, run in runs.items()}, options.shape)
    points = {name: (ms[name], dice[name]) for name in runs}
    ours = {name: at for name, at in points.items() if name not in BY_HAND}
    figure(out / "pareto.png", ours, {name: at for name, at in points.items() if name in BY_HAND})
    print("| network | ms a pair | Dice, val |\n|---|---|---|")
    for name, (time, score) in sorted(points.items(), key=lambda p: p[1]):
        print(f"| {name} | {time:.0f} | {score:.4f} |")


if __name__ == "__main__":
    main()
