"""Training on several sources at once."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bilevelmorph as bm
from bilevelmorph.config import TrainingConfig
from bilevelmorph.errors import InputError
from bilevelmorph.io.csv import read_rows
from bilevelmorph.training.data import open_data
from bilevelmorph.training.mix_source import MixSource

TINY = {
    "network": "propagation",
    "scales": (4,),
    "encoder": ((), (4,), (4,)),
    "matching": (4,),
    "regularization": (4,),
    "shape": (16, 16, 16),
    "image_loss": "ncc",
    "steps_per_epoch": 2,
    "quiet": True,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three labelled scans of 2 mm voxels, two of them a validation pair."""
    root = tmp_path_factory.mktemp("mixed") / "blobs=1"
    rng = np.random.default_rng(0)
    for name in ("imagesTr", "labelsTr"):
        (root / name).mkdir(parents=True)
    import nibabel as nib

    for i in range(3):
        labels = np.zeros((20, 18, 14), np.uint8)
        labels[4 + i : 12 + i, 4:12, 4:10] = 1
        image = labels * 100 + rng.random(labels.shape) * 20
        for where, data in (("imagesTr", image), ("labelsTr", labels)):
            nib.save(
                nib.Nifti1Image(data.astype(np.float32), np.diag([2, 2, 2, 1])), root / where / f"{i}.nii"
            )
    names = [f"./imagesTr/{i}.nii" for i in range(3)]
    table = {
        "name": "blobs",
        "labels": {"0": "background", "1": "box"},
        "training": [{"image": n} for n in names],
        "registration_val": [{"moving": names[0], "fixed": names[1]}],
    }
    (root / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b", ("a/b", 0, 1)),
        ("a@b/c@2", ("a@b/c", 2, 1)),
        ("a=b=0.5", ("a=b", 0, 0.5)),
        ("scans@1.25=3", ("scans", 1.25, 3)),
        ("synthetic=2", ("synthetic", 0, 2)),
    ],
)
def test_sources_as_they_are_written(text, expected):
    assert tuple(MixSource.parse(text)) == expected


@pytest.mark.parametrize("text", ["", "=2", "synthetic@2", "scans@0", "scans=-1", "scans=nan"])
def test_sources_that_mean_nothing(text):
    with pytest.raises(InputError, match="mix"):
        MixSource.parse(text)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"shape": None}, "shape"),
        ({"spacing": 2.0}, "spacing"),
        ({"synthetic": True}, "2 sources"),
        ({"dice_weight": 1.0}, "dice_weight"),
        ({"augment_flip": 1.5}, "augment_flip"),
        ({"mix": (), "synthetic": True, "augment_crop": True}, "augment_crop"),
        ({"mix": ("nowhere",)}, "nowhere"),
    ],
)
def test_options_that_do_not_go_together(folder, tmp_path, options, part):
    with pytest.raises(InputError, match=part):
        bm.train(**{**TINY, "mix": (str(folder),), "model_dir": str(tmp_path), **options})


def test_spacings_are_zooms(folder):
    """The box of 8 voxels of 2 mm has 8 voxels of 2 mm, and 16 of 1 mm."""
    sizes = []
    for spacing in (2, 1):
        config = TrainingConfig.of(mix=(f"{folder}@{spacing}",), shape=(32, 32, 32))
        image = next(iter(open_data(config).pairs.dataset(0, 1)))[1]["moving"].numpy()[0, ..., 0]
        sizes.append((image > 0.6).any((1, 2)).sum())
    assert sizes == [8, 16]


def test_a_run_on_scans_and_synthetic_pairs(folder, tmp_path):
    """It validates on the scans, and its model takes any grid, as one for synthetic pairs."""
    options = {"augment_flip": 0.2, "augment_contrast": 0.5, "augment_crop": True, "epochs": 1}
    mix = (f"{folder}=1", f"{folder}@1=1", "synthetic=1")
    network = bm.train(**TINY, **options, mix=mix, model_dir=str(tmp_path))
    (row,) = read_rows(tmp_path / "log.csv")
    assert 0 < float(row["val_dice"]) <= 1
    assert row["val_dice_blobs"] == row["val_dice"]
    assert network.preprocessing["grid"] == "header"
    assert network.objective["similarity"] == "ncc"
    assert (tmp_path / "best.keras").is_file()
