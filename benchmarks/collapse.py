"""Do searches collapse to skips? With and without a warm-up that trains only the network.

An operation without weights needs no training, and may win for that reason alone if the
architecture is optimised from the first step. Runs searches with several seeds in both
settings, one seed twice, and draws the share of skips and the entropy. Finished searches
are reused.
Run: python benchmarks/collapse.py --data DIR --out DIR [--steps 300]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from gradients import searched

SEEDS = (1, 2, 3)
SHARES = {"from the first step": 0.0, "after a warm-up": 0.4}


def skips(row: dict[str, str]) -> tuple[int, int]:
    """Number of chosen skips and of all layers."""
    cells = " ".join(v for k, v in row.items() if k[0] in "FD" and k[1:].isdigit() and v).split()
    return cells.count("skip"), len(cells)


def figure(path: Path, tables: dict[str, list[list[dict[str, str]]]]) -> None:
    """Draw the share of skips and the entropy of every search."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(8.4, 3.4), layout="constrained")
    FigureCanvasAgg(drawn)
    for axis, column, title in zip(
        drawn.subplots(1, 2),
        ("skips", "entropy"),
        ("share of skips", "entropy of the choices"),
        strict=True,
    ):
        for (name, runs), colour in zip(tables.items(), ("tab:red", "tab:blue"), strict=True):
            for k, rows in enumerate(runs):
                label = None if k else name
                axis.plot(
                    [int(r["epoch"]) for r in rows],
                    [float(r[column]) for r in rows],
                    color=colour,
                    label=label,
                )
        axis.set(xlabel="epoch", title=title, ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    drawn.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with a dataset.json")
    parser.add_argument("--out", required=True)
    parser.add_argument("--spacing", type=float, default=2.0, help="voxel size, mm")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--architecture-lr", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    out = Path(options.out)
    common = ["--data", options.data, "--spacing", options.spacing, "--search-steps", options.steps]
    common += ["--steps-per-epoch", options.steps // 15, "--architecture-lr", options.architecture_lr]
    common += ["--operations", "skip", "conv1", "conv3", "conv5", "sep3", "sep5", "dil3"]
    common += ["--scales", 8, 4, 2, "--layers", 2, "--gpu", -1, "--threads", options.threads]
    tables: dict[str, list[list[dict[str, str]]]] = {name: [] for name in SHARES}
    for seed in SEEDS:
        for name, share in SHARES.items():
            folder = out / f"share-{share:g}-seed-{seed}"
            tables[name].append(searched(folder, [*common, "--seed", seed, "--warmup-share", share]))
    figure(out / "collapse.png", tables)
    for name, runs in tables.items():
        for seed, rows in zip(SEEDS, runs, strict=True):
            chosen, layers = skips(rows[-1])
            share = float(rows[-1]["skips"])
            print(f"{name}, seed {seed}: {chosen} skips of {layers} layers, share {share:.3f}")
    again = searched(
        out / "again", [*common, "--seed", SEEDS[0], "--warmup-share", SHARES["after a warm-up"]]
    )
    print(f"seed {SEEDS[0]} again: {'the same' if again == tables['after a warm-up'][0] else 'not the same'}")


if __name__ == "__main__":
    main()
