"""Where does a one-step hypergradient point, and does it depend on the learning rate?

At networks that `ablation.py` trained with a weight of regularity, the slope of the
upper loss by the logarithm of that weight, over single pairs: as training goes on at
two learning rates, the higher of which keeps the network noisier. The weight itself
stays. Runs that are already there are not run again.
Run: python benchmarks/slopes.py --data DIR --ablation DIR --out DIR
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from self_tuning import train_once

from bilevelmorph.volumes.tables import read_rows

# Folders of the ablation by the weight that they were trained with.
TRAINED = {10.0: "07", 1.0: "00"}
RATES = (1e-3, 1e-4)
WARM, COUNTED = 100, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with a dataset.json")
    parser.add_argument("--ablation", required=True, help="folder that ablation.py made with --epochs 8")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    for weight, name in TRAINED.items():
        for rate in RATES:
            run = train_once(
                Path(options.out) / f"{weight:g}_{rate:g}",
                data=options.data,
                val_pairs=40,
                val_every=9,
                load_weights=str(Path(options.ablation) / name / "0008.keras"),
                lambda_weight=weight,
                lr=rate,
                epochs=1,
                steps_per_epoch=WARM + COUNTED,
                bilevel=True,
                strategy="one-step-differences",
                upper_lr=1e-6,
                upper_every=1,
                warmup=WARM,
                freeze=("similarity",),
                seed=11,
            )
            slopes = np.array([float(row["slope_regularity"]) for row in read_rows(run / "weights.csv")])
            error = slopes.std() / np.sqrt(len(slopes))
            way = "up" if slopes.mean() < 0 else "down"
            print(
                f"weight {weight:g}, lr {rate:g}: {slopes.mean():.2e} (s.e. {error:.1e}), {way}", flush=True
            )


if __name__ == "__main__":
    main()
