"""Comparison of hand-made and searched networks of cells, on one data set with one training budget.

Trains All-1-Conv to All-7-Conv and a VoxelMorph network (VM) with hand-chosen loss
weights. From the folder of a search, it trains the best random candidate and the best
candidate of the gradient search, each with its own loss weights, and VM with the loss
weights of the latter. Scores all networks on validation or test pairs, and prints a table
and the cost of the search relative to a training run. All work is done by the commands
that it prints; finished runs are reused. With several seeds, the table gives the mean over
seeds and the standard deviation of the means between them.
Run: python benchmarks/autoreg.py --data DIR --out DIR [--search DIR] -- FLAGS OF train
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ablation import cost
from interleaved import interleaved_ms

from bilevelmorph.io.json import read_json, write_json

SCALES, LAYERS, FILTERS = (16, 8, 4, 2), 2, 16
BY_HAND = {f"All-{k}-Conv": f"conv{k}" for k in (1, 3, 5, 7)}


def command(*words: Any) -> None:
    """Run a bilevelmorph command in a separate process."""
    line = ["bilevelmorph", *map(str, words)]
    print("$ " + shlex.join(line), flush=True)
    subprocess.run([sys.executable, "-m", "bilevelmorph.cli.main", *line[1:]], check=True)


def by_hand(folder: Path) -> dict[str, list[str]]:
    """Flags of every hand-made network."""
    from bilevelmorph.networks.genotype import Genotype

    rows = {}
    for name, operation in BY_HAND.items():
        path = folder / f"{name}.json"
        Genotype.uniform(operation, SCALES, LAYERS, FILTERS).save(path)
        rows[name] = ["--genotype", str(path)]
    return rows | {"VM": ["--network", "vxm"]}


def searched(folder: Path, out: Path) -> tuple[dict[str, list[str]], dict[str, float]]:
    """Flags of the best random and the best gradient candidate of a finished search, and its seconds."""
    from bilevelmorph.autoreg.run import search
    from bilevelmorph.config import SearchConfig

    result = search(SearchConfig.load(folder / "config.json"), quiet=True)
    ours = {c.by_gradients: c for c in reversed(result.candidates)}  # the best of each kind
    rows = {}
    for name, found in {"random-best": ours.get(False), "AutoReg": ours.get(True)}.items():
        if found is not None:
            found.genotype.save(out / f"{name}.json")
            weights = out / f"{name}-weights.json"
            write_json(weights, dict(found.weights))
            rows[name] = ["--genotype", str(out / f"{name}.json"), "--loss-weights", str(weights)]
    if "AutoReg" in rows:
        rows["VM + AutoReg"] = ["--network", "vxm", *rows["AutoReg"][2:]]
    return rows, result.seconds


def trained(run: Path, data: str, flags: list[str]) -> Path:
    """Train unless done, and return the folder."""
    if not (run / "done").is_file():
        command("train", "--data", data, *flags, "--model-dir", run, "--resume", "--quiet")
        (run / "done").touch()
    return run


def scored(run: Path, data: str, split: str) -> dict[str, Any]:
    """Evaluate unless done, and return the summary."""
    table = run / f"{split}.csv"
    if not table.is_file():
        pairs = ["--data", data, "--split", split]
        command(
            "evaluate", *pairs, "--model", run / "best.keras", "--quality", "fast", "--out", table, "--quiet"
        )
    found: dict[str, Any] = read_json(table.with_suffix(".json"), "a summary of evaluate")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with a dataset.json")
    parser.add_argument("--out", required=True)
    parser.add_argument("--search", help="folder of a finished `bilevelmorph search`")
    parser.add_argument("--rows", nargs="*", default=[], help="train only these networks")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1], help="seeds; every network is trained once per seed"
    )
    parser.add_argument(
        "--splits", nargs="+", default=["val"], help="splits to score, val or test; use test once, at the end"
    )
    parser.add_argument("--shape", type=int, nargs="+", help="grid size on which to time the networks")
    parser.add_argument("flags", nargs="*", help="flags of train, after --")
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    rows, spent = by_hand(out), {}
    if options.search:
        more, spent = searched(Path(options.search), out)
        rows |= more
    rows = {name: flags for name, flags in rows.items() if not options.rows or name in options.rows}
    runs: dict[str, list[Path]] = {name: [] for name in rows}
    # Seed by seed, so that a whole table is available early.
    for seed in options.seeds:
        for name, flags in rows.items():
            run = out / f"{name.replace(' + ', '-')}-{seed}"
            runs[name].append(trained(run, options.data, [*flags, *options.flags, "--seed", str(seed)]))
            for split in options.splits:
                scored(run, options.data, split)
    columns = ["network", *(f"Dice, {s} (s.d. of pairs; of seeds)" for s in options.splits)]
    columns += ["folding %", "training, s"]
    ms = (
        interleaved_ms({n: r[0] / "best.keras" for n, r in runs.items()}, options.shape)
        if options.shape
        else {}
    )
    columns += ["ms a pair"] if ms else []
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for name, made in runs.items():
        cells = [name]
        for split in options.splits:
            found = [scored(run, options.data, split) for run in made]
            means = [f["dice"]["mean"] for f in found]
            deviation = np.mean([f["dice"]["std"] for f in found])
            cells.append(f"{np.mean(means):.4f} ({deviation:.3f}; {np.std(means):.4f})")
        cells.append(f"{np.mean([f['folding_percent']['mean'] for f in found]):.4f}")
        cells.append(f"{np.mean([cost(run) for run in made]):.0f}")
        cells += [f"{ms[name]:.0f}"] if ms else []
        lines.append("| " + " | ".join(cells) + " |")
    print("\n".join(["", *lines]))
    if "gradient" in spent and "AutoReg" in runs:
        seconds, once = spent["gradient"] + spent["trial"], cost(runs["AutoReg"][0])
        print(f"search {seconds:.0f} s, {seconds / once:.2f} times a training of {once:.0f} s")
        print(f"random candidates beside it {spent.get('tuner-random', 0.0):.0f} s")


if __name__ == "__main__":
    main()
