"""Ablation of the explicit constraints: one small network, one budget, one change at a time.

Trains every variant, scores it on validation and test pairs, and prints a table. Also
prints the cost of finding the loss weight, by a grid of training runs and by one bilevel
run; the best weight of the grid is chosen on validation pairs. Finished runs are reused.
Run: python benchmarks/ablation.py --data DIR --out DIR [--epochs 5]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from self_tuning import train_once

from bilevelmorph.io.csv import read_rows

BASE = {"lr": 1e-3, "lr_schedule": "cosine", "lambda_weight": 1.0, "seed": 7}
BILEVEL = {
    "bilevel": True,
    "hypergradient": "gradient-alignment",
    "outer_lr": 0.02,
    "outer_every": 2,
    "bilevel_warmup": 100,
}
VARIANTS = {
    "everything, weight 1 by hand": {},
    "probabilistic features": {"probabilistic": True},
    "probabilistic features, in turn": {"probabilistic": True, "alternate": 5},
    "data step in closed form only": {"matching": ()},
    "data step learned only": {"analytic_steps": ()},
    "without the regularisation block": {"regularization": ()},
    "without integration": {"int_steps": 0},
    "weight 0.1": {"lambda_weight": 0.1},
    "weight 10": {"lambda_weight": 10.0},
    "weight tuned, from 10": {**BILEVEL, "lambda_weight": 10.0},
}
GRID = ("weight 0.1", "everything, weight 1 by hand", "weight 10")
TUNED = "weight tuned, from 10"


def score(model: Path, data: str, split: str) -> dict[str, float]:
    """Mean and standard deviation of Dice, folding and median seconds of a model."""
    from bilevelmorph.datasets.decathlon import DecathlonDataset
    from bilevelmorph.registration.evaluation import evaluate, summarise
    from bilevelmorph.registration.registrar import Registrar

    folder = DecathlonDataset.open(data)
    rows = evaluate(Registrar(str(model), compiled=True, quality="fast"), folder.pairs(split), folder.labels)
    facts = summarise(rows, {})
    return {
        f"{split}_dice": facts["dice"]["mean"],
        f"{split}_sd": facts["dice"]["std"],
        f"{split}_folding": facts["folding_percent"]["mean"],
        f"{split}_seconds": facts["seconds"]["median"],
    }


def cost(run: Path) -> float:
    """Duration of a training run in seconds."""
    return sum(float(row["seconds"]) for row in read_rows(run / "log.csv"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with a dataset.json")
    parser.add_argument("--out", required=True)
    parser.add_argument("--epochs", type=int, default=5, help="training epochs of 100 steps")
    options = parser.parse_args()
    out, rows = Path(options.out), {}
    columns = ("variant", "Dice, validation", "Dice, test", "folding %, test", "s per pair", "training, s")
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for number, (name, changes) in enumerate(VARIANTS.items()):
        config = {
            **BASE,
            **changes,
            "data": options.data,
            "epochs": options.epochs,
            "val_every": options.epochs,
        }
        run = train_once(out / f"{number:02d}", **config)
        model = run / f"{options.epochs:04d}.keras"
        row = {**score(model, options.data, "val"), **score(model, options.data, "test"), "cost": cost(run)}
        rows[name] = row
        dice = [f"{row[f'{split}_dice']:.3f} ({row[f'{split}_sd']:.3f})" for split in ("val", "test")]
        rest = [f"{row['test_folding']:.3f}", f"{row['test_seconds']:.2f}", f"{row['cost']:.0f}"]
        print("| " + " | ".join([name, *dice, *rest]) + " |", flush=True)
    best = max(GRID, key=lambda name: rows[name]["val_dice"])
    together = sum(rows[name]["cost"] for name in GRID)
    print(f"\ngrid of {len(GRID)}: {together:.0f} s, best {best!r}, test Dice {rows[best]['test_dice']:.3f}")
    print(f"bilevel: {rows[TUNED]['cost']:.0f} s, test Dice {rows[TUNED]['test_dice']:.3f}")


if __name__ == "__main__":
    main()
