"""Does the uncertainty of a probabilistic model indicate where it errs?

Warps validation scans by known random diffeomorphisms and corrupts them. The model
registers each scan with its warped copy, so the error is known at every voxel. Prints
the correlation of the error with the standard deviation over samples of the model, and
plots the error against it.
Run: python benchmarks/uncertainty.py --model FILE --data DIR --out calibration.png
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from scipy.stats import pearsonr, spearmanr
from tqdm import tqdm

from bilevelmorph.datasets.decathlon import DecathlonDataset
from bilevelmorph.datasets.pair_dataset import PairDataset
from bilevelmorph.datasets.phantoms import corrupt, fold, random_displacement
from bilevelmorph.models import load_model
from bilevelmorph.ops import warp
from bilevelmorph.ops.grid import crop, spatial_shape
from bilevelmorph.registration.uncertainty import Uncertainty

BINS = 12


def measure(model: str, data: str, count: int, samples: int, amplitude: float):
    """Standard deviation and error, in voxels, inside the body in all pairs; correlation in each pair."""
    network = load_model(model)
    subjects = DecathlonDataset.open(data).subjects("val")
    source = PairDataset(subjects, shape=network.preprocessing.get("shape"))
    uncertainty = Uncertainty(network, samples)
    predict = tf.function(lambda m, f: network.deform(m, f).displacement)
    spreads, errors, by_pair = [], [], []
    for number in tqdm(range(count), desc="pairs"):
        seed = tf.constant([0, number])
        moving = tf.constant(source.image(subjects[number % len(subjects)])[None])
        truth = random_displacement(spatial_shape(moving), amplitude, 16, fold(seed, 0))
        fixed = corrupt(warp(moving, truth), fold(seed, 1), noise=0.03)
        found = crop(predict(moving, fixed), spatial_shape(fixed))
        body = warp(moving, truth).numpy()[0, ..., 0] > 0.1
        error = np.linalg.norm(found.numpy()[0] - truth.numpy()[0], axis=-1)[body]
        spread = np.linalg.norm(uncertainty(moving, fixed), axis=-1)[body]
        spreads.append(spread)
        errors.append(error)
        by_pair.append(pearsonr(spread, error)[0])
    return np.concatenate(spreads), np.concatenate(errors), by_pair


def draw(path: str, spread: np.ndarray, error: np.ndarray, title: str) -> None:
    """Draw mean, median and quartiles of the error over bins of standard deviation with equal counts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = np.array_split(np.argsort(spread), BINS)
    x = [spread[g].mean() for g in groups]
    low, middle, high = zip(*(np.percentile(error[g], (25, 50, 75)) for g in groups), strict=True)
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.fill_between(x, low, high, alpha=0.25, label="middle half of the voxels")
    axis.plot(x, middle, "-", label="median")
    axis.plot(x, [error[g].mean() for g in groups], "o-", label="mean")
    axis.set(xlabel="standard deviation over draws, voxels", ylabel="true error, voxels", title=title)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="folder with a dataset.json")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument(
        "--amplitude", type=float, default=5.0, help="standard deviation of the random velocity, in voxels"
    )
    parser.add_argument("--out", default="calibration.png")
    options = parser.parse_args()
    spread, error, by_pair = measure(
        options.model, options.data, options.pairs, options.samples, options.amplitude
    )
    pearson, rank = pearsonr(spread, error)[0], spearmanr(spread, error)[0]
    print(f"{options.pairs} pairs, {len(error)} voxels; mean error {error.mean():.3f} voxels")
    print(f"mean standard deviation {spread.mean():.3f} voxels")
    print(f"correlation of the two: {pearson:.3f} (Pearson), {rank:.3f} (rank)")
    print(f"within single pairs: {np.median(by_pair):.3f} (median), {min(by_pair):.3f} (least)")
    draw(options.out, spread, error, f"{options.pairs} pairs, correlation {pearson:.2f}")


if __name__ == "__main__":
    main()
