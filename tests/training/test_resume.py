"""Training runs: resumed or repeated they end with the same bits, and they leave what they promise."""

from __future__ import annotations

import csv
import dataclasses
import json

import keras
import numpy as np
import pytest

from bilevelmorph.checks import InputError
from bilevelmorph.config import TrainingConfig
from bilevelmorph.inference import Registrar, load_model
from bilevelmorph.training.run import make_optimizer, train
from bilevelmorph.training.state import newest_checkpoint, restore_optimizer, save_checkpoint, state_path
from bilevelmorph.volumes import load_volume

AUGMENTED = {"augment_affine": 0.05, "augment_shift": 1.0, "augment_intensity": 0.2}
PROPAGATION = {
    "network": "propagation",
    "scales": (2,),
    "encoder": ((), (4,)),
    "matching": (4,),
    "regularization": (4,),
    "int_steps": 2,
    "image_loss": "ncc",
    "window": 5,
    "lr_schedule": "cosine",
    "clip_norm": 1.0,
    **AUGMENTED,
}
VXM = {"enc": (4, 4), "dec": (4, 4, 4), "int_steps": 2, "lr": 1e-2, **AUGMENTED}
NETWORKS = {
    "propagation": PROPAGATION,
    "vxm": VXM,
    "vxm use_probs": {**VXM, "use_probs": True, "batch_size": 2},
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


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    write_scans(folder)
    return folder


@pytest.fixture(scope="module")
def start(scans, tmp_path_factory):
    """Train in a new folder with these options; the folder comes back."""

    def go(folder=None, **options):
        folder = folder or tmp_path_factory.mktemp("run")
        values = {"img_list": str(scans / "list.txt"), "steps_per_epoch": 3, "seed": 5, "lr": 1e-3}
        if "data" in options:
            del values["img_list"]
        train(TrainingConfig(**{**values, **options, "model_dir": str(folder)}), quiet=True)
        return folder

    return go


@pytest.fixture(scope="module", params=NETWORKS)
def four_epochs(request, start):
    """A run of four epochs without a break, and its options."""
    options = NETWORKS[request.param]
    return start(epochs=4, **options), options


def weights(folder, epoch):
    return load_model(str(folder / f"{epoch:04d}.keras")).get_weights()


def rows(folder):
    with (folder / "log.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def assert_same(first, second, epochs):
    for one, other in zip(weights(first, epochs), weights(second, epochs), strict=True):
        np.testing.assert_array_equal(one, other)
    tables = [[{k: v for k, v in r.items() if k != "seconds"} for r in rows(f)] for f in (first, second)]
    assert tables[0] == tables[1]
    with np.load(first / f"{epochs:04d}.state.npz") as a, np.load(second / f"{epochs:04d}.state.npz") as b:
        assert a.files == b.files
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name])


def test_resumed_run_ends_with_the_same_bits(four_epochs, start):
    """Two epochs with four planned, a stop, and the rest."""
    whole, options = four_epochs
    folder = start(epochs=4, **options)
    # As if stopped after the second: what came later is gone.
    for path in [*folder.glob("000[34].*"), folder / "log.csv"]:
        path.unlink()
    again = start(epochs=2, **{**options, "lr_schedule": "constant"})
    assert len(rows(again)) == 2
    second = start(epochs=4, **options)
    assert_same(whole, second, 4)


def test_training_changes_the_weights(four_epochs):
    folder, _ = four_epochs
    assert any((a != b).any() for a, b in zip(weights(folder, 3), weights(folder, 4), strict=True))
