"""Which one-step hypergradient points towards the better weight, and how noisy is it?

Continues the training of the networks that `ablation.py` trained with weight 1 and
weight 10, and keeps the moving averages of their weights. There, it computes the gradients
of the outer loss and of the weighted regularity for single pairs. Their products, with or
without Adam's preconditioner in between, are the hypergradients of the logarithm of the
weight. Every validation pair is combined with every training pair, so that the mean is
known precisely; the spread of single products tells over how many of them an outer step
has to average.
Run: python benchmarks/slopes.py --data DIR --ablation DIR --out DIR
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from self_tuning import train_once

# Folders of the ablation by weight of the regularity.
TRAINED = {1.0: "00", 10.0: "07"}


def gradients(folder: Path, weight: float, pairs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of outer loss and weighted regularity, ``[pairs, N]`` each, and Adam's step lengths."""
    from bilevelmorph.config import TrainingConfig
    from bilevelmorph.training.build import make_outer_objective, make_trainer
    from bilevelmorph.training.checkpoint import restore_state
    from bilevelmorph.training.data import open_data
    from bilevelmorph.training.run import prepare

    # Configured as a bilevel run to get the pairs and the objective of the outer level.
    config = TrainingConfig.load(folder / "config.json")
    config = config.with_(load_weights=str(folder / "0001.keras"), bilevel=True)
    data = open_data(config)
    run = prepare(config, data.pairs)
    trainer = make_trainer(config, run.network, run.energy, data.outer_pairs)
    single = make_trainer(config.with_(bilevel=False), run.network, run.energy)
    restore_state(folder / "0001.keras", single.state_variables)
    adam, state = single.inner_optimizer()
    objective = make_outer_objective(config, run.energy)
    variables = [v.value for v in single.variables]

    def flat(loss: tf.Tensor, tape: tf.GradientTape) -> tf.Tensor:
        found = tape.gradient(loss, variables, unconnected_gradients="zero")
        return tf.concat([tf.reshape(g, [-1]) for g in found], 0)

    @tf.function
    def inner(step: tf.Tensor, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        batch = trainer.prepare(step, batch)
        with tf.GradientTape() as tape:
            loss = weight * trainer.objective(batch)[1]["regularity"]
        return flat(loss, tape)

    @tf.function
    def outer(held: dict[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            deformation = trainer.network.deform(held["moving"], held["fixed"], training=False)
            loss = objective(deformation, held)
        return flat(loss, tape)

    first = config.optimization.steps_per_epoch
    below = [inner(*x).numpy() for x in data.pairs.dataset(first, first + pairs, 1)]
    above = [outer(held).numpy() for _, held in data.outer_pairs.dataset(first, first + pairs, 1)]
    lengths = adam.precondition([tf.ones_like(v) for v in variables], state)
    return np.array(above), np.array(below), np.concatenate([np.ravel(x) for x in lengths])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with a dataset.json")
    parser.add_argument("--ablation", required=True, help="output folder of ablation.py, run with --epochs 8")
    parser.add_argument("--out", required=True)
    parser.add_argument("--pairs", type=int, default=120)
    options = parser.parse_args()
    print("| weight | step | mean / standard error | | one pair and one pair | all pairs and one pair |")
    print("|---|---|---|---|---|---|")
    for weight, name in TRAINED.items():
        run = train_once(
            Path(options.out) / f"{weight:g}",
            data=options.data,
            val_pairs=40,
            load_weights=str(Path(options.ablation) / name / "0008.keras"),
            lambda_weight=weight,
            lr=1e-3,
            ema=0.98,
            epochs=1,
            steps_per_epoch=300,
            seed=11,
        )
        above, below, lengths = gradients(run, weight, options.pairs)
        for step, scale in (("gradient descent", 1.0), ("Adam", lengths)):
            products = -(above * scale) @ below.T
            by_outer, by_inner = products.mean(1), products.mean(0)
            error = np.sqrt((by_outer.var() + by_inner.var()) / options.pairs)
            mean = products.mean()
            way = "up" if mean < 0 else "down"
            single, averaged = abs(mean) / products.std(), abs(mean) / by_inner.std()
            print(f"| {weight:g} | {step} | {mean / error:.1f} | {way} | {single:.2f} | {averaged:.2f} |")


if __name__ == "__main__":
    main()
