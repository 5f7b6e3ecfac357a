"""Hand-made networks of cells against searched ones: one data set, one training budget.

Trains All-1-Conv to All-7-Conv and a VoxelMorph network (VM) with loss weights by hand,
and from the folder of a search the best random candidate and what the gradients found,
each with its own loss weights, and VM with those; scores all on validation or test pairs
and prints a table, and what the search cost beside a training. Rows that are there are
not made again. Everything is done by the commands that it prints.
Run: python benchmarks/autoreg.py --data DIR --out DIR [--search DIR] -- FLAGS OF train
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from ablation import cost

from bilevelmorph.volumes.tables import read_json, write_json

SCALES, LAYERS, FILTERS = (16, 8, 4, 2), 2, 16
BY_HAND = {f"All-{k}-Conv": f"conv{k}" for k in (1, 3, 5, 7)}


def command(*words: Any) -> None:
    """Run one of ours, in a process of its own."""
    line = ["bilevelmorph", *map(str, words)]
    print("$ " + shlex.join(line), flush=True)
    subprocess.run([sys.executable, "-m", "bilevelmorph.cli.main", *line[1:]], check=True)


def by_hand(folder: Path, only: list[str]) -> dict[str, list[str]]:
    """Flags of every hand-made network."""
    from bilevelmorph.networks.genotype import Genotype

    rows = {}
    for name, operation in BY_HAND.items():
        if not only or name in only:
            path = folder / f"{name}.json"
            Genotype.uniform(operation, SCALES, LAYERS, FILTERS).save(path)
            rows[name] = ["--genotype", str(path)]
    if not only or "VM" in only:
        rows["VM"] = ["--network", "vxm"]
    return rows


def searched(folder: Path, out: Path) -> tuple[dict[str, list[str]], dict[str, float]]:
    """From a finished search: flags of the best random candidate and of what gradients found; seconds."""
    from bilevelmorph.search.config import SearchConfig
    from bilevelmorph.search.run import search

    result = search(SearchConfig.load(folder / "config.json"), quiet=True)
    ours = {c.name == "gradient": c for c in reversed(result.candidates)}  # the best of either kind
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with a dataset.json")
    parser.add_argument("--out", required=True)
    parser.add_argument("--search", help="folder of a finished `bilevelmorph search`")
    parser.add_argument("--rows", nargs="*", default=[], help="only these of the hand-made")
    parser.add_argument("--splits", nargs="+", default=["val"], help="val, test; test once, at the end")
    parser.add_argument("flags", nargs="*", help="of train, after --")
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    rows = by_hand(out, options.rows)
    seconds: dict[str, float] = {}
    if options.search:
        more, seconds = searched(Path(options.search), out)
        rows |= more
    columns = [
        "network",
        *(f"Dice, {s} (s.d.)" for s in options.splits),
        "folding %",
        "s a pair",
        "training, s",
    ]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for name, flags in rows.items():
        run = out / name.replace(" + ", "-")
        if not (run / "done").is_file():
            train = ["train", "--data", options.data, *flags, *options.flags, "--model-dir", run, "--resume"]
            command(*train, "--quiet")
            (run / "done").touch()
        cells = [name]
        for split in options.splits:
            table = run / f"{split}.csv"
            if not table.is_file():
                pairs = ["--data", options.data, "--split", split]
                command("evaluate", *pairs, "--model", run / "best.keras", "--out", table, "--quiet")
            found = read_json(table.with_suffix(".json"), "a summary of evaluate")
            cells.append(f"{found['dice']['mean']:.4f} ({found['dice']['std']:.3f})")
        folding, seconds = found["folding_percent"]["mean"], found["seconds"]["median"]
        cells += [f"{folding:.4f}", f"{seconds:.3f}", f"{cost(run):.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    print("\n".join(["", *lines]))
    if "gradient" in seconds:
        spent, once = seconds["gradient"] + seconds["trial"], cost(out / "AutoReg")
        print(f"search {spent:.0f} s, {spent / once:.2f} times a training of {once:.0f} s")
        print(f"random candidates beside it {seconds.get('tuner-random', 0.0):.0f} s")


if __name__ == "__main__":
    main()
