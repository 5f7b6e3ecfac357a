"""What a run trains on, from what it is told."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from bilevelmorph.config import TrainingConfig
from bilevelmorph.errors import InputError
from bilevelmorph.training.data import open_data


@pytest.fixture
def folder(scans, tmp_path):
    """A folder of scans of its own, that may be changed."""
    return shutil.copytree(scans, tmp_path / "mine")


def test_pairs_that_are_named_are_drawn(folder):
    table = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    drawn = {open_data(TrainingConfig.of(data=str(folder))).pairs.draw(k).moving.name for k in range(40)}
    assert drawn == {"0.npz", "1.npz", "2.npz", "3.npz"}
    table["registration_train"] = [{"moving": "3.npz", "fixed": "0.npz"}]
    (folder / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    source = open_data(TrainingConfig.of(data=str(folder))).pairs
    pairs = {(p.moving.name, p.fixed.name) for p in map(source.draw, range(9))}
    assert pairs == {("3.npz", "0.npz")}


@pytest.mark.parametrize("labelled", [True, False])
def test_an_atlas_may_hold_its_label_map(folder, labelled, monkeypatch):
    """VoxelMorph's way: one npz with `vol` and `seg`."""
    arrays = {"vol": np.load(folder / "imagesTr" / "0.npz")["vol"]}
    if labelled:
        arrays["seg"] = np.load(folder / "labelsTr" / "0.npz")["seg"]
    np.savez(folder / "atlas.npz", **arrays)
    np.save(folder / "values.npy", [1])
    (folder / "list.txt").write_text("0.npz\n1.npz\n", encoding="utf-8")
    config = TrainingConfig.of(
        img_list=str(folder / "list.txt"),
        img_prefix=f"{folder}/imagesTr/",
        seg_prefix=f"{folder}/labelsTr/",
        atlas=str(folder / "atlas.npz"),
        labels=str(folder / "values.npy"),
        dice_weight=1.0,
    )
    if not labelled:
        with pytest.raises(InputError, match=r"no label map for .*atlas\.npz"):
            open_data(config)
        return
    source = open_data(config).pairs
    pair = source.draw(0)
    assert pair.fixed.name == "atlas.npz"
    assert source.labels(pair.fixed).any()
