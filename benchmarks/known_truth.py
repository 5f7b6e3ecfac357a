"""Pairs whose true displacement is known, for `bilevelmorph benchmark`: scans and their deformed copies.

Every scan is the moving image; the fixed one is the scan warped by a random affine map and a random
diffeomorphism, with noise and shading. Points drawn inside the body stand in `landmarksTr`, where the
truth takes them, so that the benchmark reports the error of every method in millimetres (TRE). The
deformations are simulated.
Run: python benchmarks/known_truth.py --data DIR --split test --count 10 --out known
     bilevelmorph benchmark --data known --split test --out known-compared
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from bilevelmorph.data.geometry import sample_field, transform_points, voxel_positions, warp_volume
from bilevelmorph.data.preprocessing import normalise
from bilevelmorph.datasets.decathlon import DecathlonDataset
from bilevelmorph.datasets.phantoms import random_displacement
from bilevelmorph.io.json import write_json
from bilevelmorph.io.volumes import load_volume, save_volume

# Spacing of the random velocities, voxels, and points of each pair.
WIDTH, POINTS = 20, 300


def known_displacement(shape: tuple[int, ...], amplitude: float, seed: int) -> np.ndarray:
    """A random affine map and diffeomorphism, ``[*S, N]`` voxels."""
    random = np.random.default_rng(seed)
    smooth = random_displacement(shape, amplitude, WIDTH, tf.constant([seed, 0])).numpy()[0]
    linear = 0.03 * random.standard_normal((len(shape), len(shape)))
    positions = voxel_positions(shape)
    affine = (positions - (np.array(shape) - 1) / 2) @ linear.T + 0.5 * random.standard_normal(len(shape))
    return (affine + sample_field(smooth, positions + affine)).astype(np.float32)


def degraded(data: np.ndarray, seed: int) -> np.ndarray:
    """With multiplicative shading and noise, as another session of the same scanner would have it."""
    random = np.random.default_rng(seed)
    shading = gaussian_filter(random.standard_normal(data.shape), 12)
    shading = 1 + 0.15 * shading / np.abs(shading).max()
    return (data * shading + 0.03 * random.standard_normal(data.shape)).astype(np.float32)


def write_points(path: Path, points: np.ndarray) -> None:
    np.savetxt(path, points, fmt="%.5f", delimiter=",", header="x,y,z", comments="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with a dataset.json")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--amplitude", type=float, default=2.0, help="of the velocities, voxels")
    parser.add_argument("--out", required=True, help="folder to create")
    options = parser.parse_args()
    folder, out = DecathlonDataset.open(options.data), Path(options.out)
    for part in ("imagesTr", "labelsTr", "landmarksTr"):
        (out / part).mkdir(parents=True)
    subjects = folder.subjects(options.split) or [p.moving for p in folder.pairs(options.split)]
    subjects = list(dict.fromkeys(subjects))[: options.count]
    pairs = []
    for number, subject in enumerate(tqdm(subjects, desc="pairs")):
        scan = load_volume(subject.image)
        scan = scan.with_data(normalise(scan.data))
        truth = known_displacement(scan.shape, options.amplitude, number)
        fixed = warp_volume(scan, truth, scan.affine)
        body = np.argwhere(fixed.data > 0.1)
        body = body[np.random.default_rng(number).permutation(len(body))[:POINTS]]
        names = [f"{number:03d}-{kind}.nii.gz" for kind in ("moving", "fixed")]
        places = body + truth[tuple(body.T)], body
        images = scan, fixed.with_data(degraded(fixed.data, number))
        for name, image, there in zip(names, images, places, strict=True):
            save_volume(out / "imagesTr" / name, image)
            world = transform_points(scan.affine, there.astype(float))
            write_points(out / "landmarksTr" / name.replace(".nii.gz", ".csv"), world)
        if subject.labels is not None:
            labels = load_volume(subject.labels, "labels")
            save_volume(out / "labelsTr" / names[0], labels)
            save_volume(out / "labelsTr" / names[1], warp_volume(labels, truth, scan.affine))
        pairs.append({"moving": f"./imagesTr/{names[0]}", "fixed": f"./imagesTr/{names[1]}"})
    kept = {k: v for k, v in folder.content.items() if k in ("labels", "licence", "license")}
    title = f"{folder.name}, deformed (simulated)"
    write_json(
        out / "dataset.json", kept | {"name": title, "training": [], f"registration_{options.split}": pairs}
    )


if __name__ == "__main__":
    main()
