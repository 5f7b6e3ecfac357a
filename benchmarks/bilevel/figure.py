"""The figure and the table of the comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLOURS = {
    "conjugate-gradient": "C0",
    "momentum": "C9",
    "lbfgs": "k",
    "neumann": "C1",
    "one-step": "C2",
    "f2sa": "C3",
    "bome": "C4",
    "jaxopt-descent": "C5",
    "jaxopt-lbfgs": "C6",
    "torchopt": "C7",
    "optuna": "C8",
}
OURS = tuple(COLOURS)[:7]


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the share of the gap that is left, over seconds and over gradients, for every problem."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(3.2 * len(results), 6.0), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(2, len(results), squeeze=False)
    for column, (name, found) in enumerate(results.items()):
        for row, (key, label) in enumerate((("seconds", "seconds of one core"), ("calls", "gradients"))):
            axis = axes[row][column]
            for method, run in found["methods"].items():
                style = "-" if method in OURS else "--"
                # The start has no place on a logarithmic scale.
                axis.plot(
                    run[key][1:],
                    [max(g, 1e-6) for g in run["gap"][1:]],
                    style,
                    color=COLOURS[method],
                    label=method,
                    linewidth=1.2,
                )
            axis.set(xscale="log", yscale="log", xlabel=label, ylim=(1e-5, 2))
            axis.grid(alpha=0.3)
        axes[0][column].set_title(name, fontsize=10)
    for row in axes:
        row[0].set_ylabel("share of the gap left")
    handles, labels = axes[0][0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)
    drawn.savefig(path, dpi=100)


def table(results: dict[str, Any]) -> str:
    """Milliseconds and gradients to every goal, Markdown; in bold ours and the peers' fastest."""
    lines = []
    for name, found in results.items():
        goals = sorted({goal for run in found["methods"].values() for goal in run["to"]}, reverse=True)
        clean = found["accuracy"] is not None
        heads = [f"ms to {float(goal):.0%}, gradients" for goal in goals]
        heads += ["gap at the end", *(["test accuracy"] if clean else [])]
        lines += [f"| {name} | step | {' | '.join(heads)} |", "|" + "---|" * (len(heads) + 2)]
        for method, run in found["methods"].items():
            cells = [f"{run['rate']:g}" if method != "optuna" else ""]
            for goal in goals:
                to = run["to"].get(goal)
                text = f"{1000 * to[0]:.3g}, {to[1]}" if to else "not reached"
                cells.append(f"**{text}**" if to and is_fastest(found, method, goal) else text)
            cells.append(f"{run['gap'][-1]:.2g}")
            cells += [f"{run['accuracy']:.3f}"] if clean else []
            lines.append(f"| {method} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def summary(results: dict[str, Any]) -> str:
    """Ours and the peers' fastest to every goal, and their ratio, Markdown."""
    lines = [
        "| problem, gap left | ours | ms | gradients | peer | ms | gradients | ours / peer |",
        "|---" * 8 + "|",
    ]
    for name, found in results.items():
        for goal in sorted({g for run in found["methods"].values() for g in run["to"]}, reverse=True):
            cells, times = [], []
            for ours in (True, False):
                best = [m for m in found["methods"] if (m in OURS) == ours and is_fastest(found, m, goal)]
                to = found["methods"][best[0]]["to"][goal] if best else None
                cells += [best[0], f"{1000 * to[0]:.3g}", str(to[1])] if to else ["none", "", ""]
                times.append(to[0] if to else None)
            ratio = f"{times[0] / times[1]:.2f}" if all(times) else ""
            lines.append(f"| {name}, {float(goal):.0%} | {' | '.join(cells)} | {ratio} |")
    return "\n".join([*lines, ""])


def is_fastest(found: dict[str, Any], method: str, goal: str) -> bool:
    """Whether a method is the fastest of its side, ours or the peers'."""
    side = [m for m in found["methods"] if (m in OURS) == (method in OURS)]
    times = {m: found["methods"][m]["to"][goal][0] for m in side if goal in found["methods"][m]["to"]}
    return bool(times) and min(times, key=lambda m: times[m]) == method
