"""Folders with a dataset.json, as they are unpacked."""

from __future__ import annotations

import json

import pytest

from bilevelmorph.datasets.decathlon import DecathlonDataset
from bilevelmorph.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """Two scans whose label maps, by dataset.json, do not lie in labelsTr."""
    for name in ("imagesTr", "labelsTr", "manual"):
        (tmp_path / name).mkdir()
        for i in (1, 2):
            (tmp_path / name / f"s{i}.nii.gz").touch()
    table = {
        "training": [
            {"image": "./imagesTr/s1.nii.gz", "label": "./manual/s1.nii.gz"},
            {"image": "./imagesTr/s2.nii.gz"},
        ],
        "registration_val": [{"moving": "s1", "fixed": "imagesTr/s2.nii.gz"}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    return tmp_path


def test_the_label_map_that_is_named_is_taken(folder):
    """Wherever the scan is mentioned, and by whatever form of its name; the others go by their names."""
    dataset = DecathlonDataset.open(folder)
    (pair,) = dataset.pairs("val")
    for first, second in (dataset.subjects("train"), (pair.moving, pair.fixed)):
        assert first.labels == folder / "manual" / "s1.nii.gz"
        assert second.labels == folder / "labelsTr" / "s2.nii.gz"


def test_a_label_map_that_is_named_must_exist(folder):
    (folder / "manual" / "s1.nii.gz").unlink()
    with pytest.raises(InputError, match=r"manual/s1\.nii\.gz"):
        DecathlonDataset.open(folder).subjects("train")
