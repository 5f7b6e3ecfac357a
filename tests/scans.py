"""A small folder of scans to train on, and a small network."""

from __future__ import annotations

import json

import numpy as np

TINY = {
    "network": "propagation",
    "scales": (2,),
    "encoder": ((), (4,)),
    "matching": (4,),
    "regularization": (4,),
    "int_steps": 2,
    "clip_norm": 1.0,
}

TINY_SEARCH = {
    "budget": "10m",
    "scales": (2,),
    "layers": 1,
    "filters": (4,),
    "operations": ("skip", "conv1", "conv3"),
    "int_steps": 2,
    "seed": 3,
}


def write_scans(folder, count=4):
    """2-D blobs with their labels, 14 x 16, as npz files and a dataset.json."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(14), np.arange(16), indexing="ij")
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir()
    for i in range(count):
        a, b, r = *rng.uniform(5, 9, 2), rng.uniform(2, 4)
        distance = np.hypot(x - a, y - b)
        image = 100 * np.exp(-((distance / r) ** 2)) + rng.random((14, 16))
        np.savez(folder / "imagesTr" / f"{i}.npz", vol=image)
        np.savez(folder / "labelsTr" / f"{i}.npz", seg=(distance < r).astype(np.uint8))
    content = {
        "labels": {"1": "blob"},
        "training": [f"{i}.npz" for i in range(count)],
        "registration_val": [{"moving": "0.npz", "fixed": "1.npz"}, {"moving": "2.npz", "fixed": "1.npz"}],
    }
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "list.txt").write_text("".join(f"imagesTr/{i}.npz\n" for i in range(count)), encoding="utf-8")
