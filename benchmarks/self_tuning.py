"""Do tuned loss weights depend on their initial values, and do they if the outer loss contains them?

Starting from the same pretrained network, tunes the weight of the regularity from several
initial values that span two orders of magnitude: first for Dice on validation pairs, then
for the outer objective of the papers, which contains the loss weights. Draws both families
of trajectories. Finished runs are reused.
Run: python benchmarks/self_tuning.py --data DIR --out DIR
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from bilevelmorph.io.csv import read_rows

STARTS = (0.1, 1.0, 10.0)
NETWORK = {
    "network": "propagation",
    "scales": (8, 4),
    "encoder": ((), (8,), (16, 16), (24, 24)),
    "matching": (24, 16),
    "regularization": (12,),
    "radius": (1,),
    "analytic_steps": ("argmin",),
    "image_loss": "ncc",
    "window": 5,
    "clip_norm": 5.0,
}


def train_once(folder: Path, **options: object) -> Path:
    """Train unless done, and return the folder."""
    from bilevelmorph.config import TrainingConfig
    from bilevelmorph.training.run import train

    config = TrainingConfig.of(**(NETWORK | options), model_dir=str(folder))
    if not (folder / f"{config.schedule.epochs:04d}.keras").is_file():
        train(config)
    return folder


def last(folder: Path) -> dict[str, float]:
    return {k: float(v) for k, v in read_rows(folder / "weights.csv")[-1].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with a dataset.json")
    parser.add_argument("--out", required=True)
    parser.add_argument(
        "--warm-epochs", type=int, default=6, help="pretraining epochs of 100 steps, at a regularity of 1"
    )
    parser.add_argument("--epochs", type=int, default=10, help="bilevel epochs of 100 steps")
    parser.add_argument("--hypergradient", default="gradient-alignment")
    parser.add_argument(
        "--ema", type=float, default=0.98, help="momentum of the moving average of the network's weights"
    )
    parser.add_argument("--outer-lr", type=float, default=0.03)
    parser.add_argument("--outer-every", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--only", choices=("dice", "weighted"), nargs="*", default=("dice", "weighted"))
    options = parser.parse_args()
    out = Path(options.out)
    common = {"data": options.data, "val_pairs": 40, "val_every": 3}
    warm = train_once(out / "warm", **common, lambda_weight=1.0, lr=1e-3, epochs=options.warm_epochs)
    runs = {}
    for outer_loss in options.only:
        for start in STARTS:
            runs[outer_loss, start] = train_once(
                out / f"{outer_loss}_{start:g}",
                **common,
                load_weights=str(warm / f"{options.warm_epochs:04d}.keras"),
                lambda_weight=start,
                lr=options.lr,
                lr_schedule="cosine",
                ema=options.ema,
                epochs=options.epochs,
                bilevel=True,
                outer_loss=outer_loss,
                hypergradient=options.hypergradient,
                outer_lr=options.outer_lr,
                outer_every=options.outer_every,
                bilevel_warmup=0,
                freeze=("similarity",),
            )
    from bilevelmorph.report.trajectory_figure import trajectory_figure

    titles = {"dice": "tuned for Dice", "weighted": "the papers' outer loss, weights inside"}
    for outer_loss in options.only:
        tables = {f"from {s:g}": runs[outer_loss, s] / "weights.csv" for s in STARTS}
        trajectory_figure(out / f"{outer_loss}.png", tables, titles[outer_loss])
        ends = [last(runs[outer_loss, s])["weight_regularity"] for s in STARTS]
        print(
            f"{titles[outer_loss]}: ends {', '.join(f'{e:.3g}' for e in ends)}; "
            f"ratio {max(ends) / min(ends):.2f}"
        )


if __name__ == "__main__":
    main()
