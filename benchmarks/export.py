"""Size, run time and Dice of an exported model in every format, interleaved in one run.

Exports a model as SavedModel with float32 and float16 weights, and runs both, and the
first with OpenVINO, in turn on every validation pair of a data set.
Run: python benchmarks/export.py --data DIR [--model hippocampus] [--limit 0]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with a dataset.json")
    parser.add_argument("--model", default="hippocampus")
    parser.add_argument("--limit", type=int, default=0, help="number of pairs, from the first; 0 for all")
    options = parser.parse_args()
    import openvino
    import tensorflow as tf

    from bilevelmorph.datasets.decathlon import DecathlonDataset
    from bilevelmorph.datasets.pair_dataset import PairDataset
    from bilevelmorph.metrics import mean_dice
    from bilevelmorph.models import load_model
    from bilevelmorph.ops.warping import warp
    from bilevelmorph.registration.export import export_savedmodel

    network, folder = load_model(options.model), DecathlonDataset.open(options.data)
    pairs = folder.pairs("val")[: options.limit or None]
    source = PairDataset(pairs=pairs, shape=network.preprocessing["shape"], percentiles=(0, 100))
    forms, sizes = {}, {}
    with tempfile.TemporaryDirectory() as out:
        for precision in ("float32", "float16"):
            place, name = Path(out) / precision, f"SavedModel, {precision} weights"
            export_savedmodel(network, place, precision)
            forms[name] = tf.saved_model.load(str(place)).signatures["register"]
            sizes[name] = sum(p.stat().st_size for p in place.rglob("*") if p.is_file())
        hint = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(str(Path(out) / "float32"), "CPU", hint)
    forms["OpenVINO, of the first"] = lambda **images: compiled(images)
    seconds, dice, fields = ({name: [] for name in forms} for _ in range(3))
    for number, pair in enumerate([pairs[0], *pairs]):  # the first pair also serves as warm-up
        images = {k: source.image(getattr(pair, k))[None] for k in ("moving", "fixed")}
        labels = [source.labels(s) for s in (pair.moving, pair.fixed)]
        for name, run in forms.items():
            given = images if name.startswith("Open") else {k: tf.constant(v) for k, v in images.items()}
            began = time.perf_counter()
            field = np.asarray(run(**given)["displacement"])
            took = time.perf_counter() - began
            if number:
                moved = warp(tf.constant(labels[0][None], tf.float32), tf.constant(field), "nearest")
                seconds[name].append(took)
                fields[name].append(field)
                found = np.asarray(moved)[0].astype(np.int32)
                dice[name].append(mean_dice(labels[1], found, [int(v) for v in folder.labels]))
    first = next(iter(forms))
    print("| form | MiB | ms a pair | Dice | largest difference, voxels |\n|---|---|---|---|---|")
    for name in forms:
        size = f"{sizes[name] / 2**20:.1f}" if name in sizes else ""
        apart = max(float(np.abs(a - b).max()) for a, b in zip(fields[name], fields[first], strict=True))
        cells = f"{1000 * np.median(seconds[name]):.0f} | {np.mean(dice[name]):.4f} | {apart:.1e}"
        print(f"| {name} | {size} | {cells} |")


if __name__ == "__main__":
    main()
