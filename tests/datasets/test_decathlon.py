"""Folders with a dataset.json, as they are unpacked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from refusals import refusal

from bilevelmorph.datasets.decathlon import DecathlonDataset, submission_name
from bilevelmorph.datasets.pairs import Pair, Subject
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


def test_a_file_that_is_named_as_in_learn2reg(folder):
    (folder / "dataset.json").rename(folder / "TASK_dataset.json")
    assert DecathlonDataset.open(folder).subjects("train")
    (folder / "OTHER_dataset.json").touch()
    assert "a folder with OTHER_dataset.json, TASK_dataset.json" in refusal(DecathlonDataset.open, folder)


def test_pairs_for_training_as_in_learn2reg(folder):
    table = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    names = [s.image.relative_to(folder).as_posix() for s in DecathlonDataset.open(folder).subjects("train")]
    table.pop("registration_train", None)
    table["training_paired_images"] = [{"fixed": f"./{names[0]}", "moving": f"./{names[1]}"}]
    (folder / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    opened = DecathlonDataset.open(folder)
    assert opened.has_pairs("train")
    (pair,) = opened.pairs("train")
    assert [pair.fixed.name, pair.moving.name] == [Path(n).name for n in names[:2]]


@pytest.mark.parametrize(
    ("fixed", "moving", "name"),
    [
        ("LungCT_0001_0000.nii.gz", "LungCT_0001_0001.nii.gz", "disp_0001_0001.nii.gz"),
        ("OASIS_0438_0000.nii.gz", "OASIS_0439_0000.nii.gz", "disp_0438_0439.nii.gz"),
        ("case_0012.nii.gz", "case_0013.nii.gz", "disp_0012_0013.nii.gz"),
    ],
)
def test_names_of_a_submission(fixed, moving, name):
    assert submission_name(Pair(Subject(Path(moving)), Subject(Path(fixed)))) == name


def test_names_without_a_number():
    scan = Subject(Path("brain.nii.gz"))
    assert "no number of a case" in refusal(submission_name, Pair(scan, scan))


@pytest.fixture(params=["2", "1"])
def nnunet(tmp_path, request):
    """Three scans with two channels each, as version 2 of nnU-Net has them, or listed as by version 1."""
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (tmp_path / name).mkdir()
    for case in ("liver_001", "liver_002", "liver_010"):
        (tmp_path / "labelsTr" / f"{case}.nii.gz").touch()
        for channel in (0, 1):
            (tmp_path / "imagesTr" / f"{case}_{channel:04d}.nii.gz").touch()
    (tmp_path / "imagesTs" / "liver_003_0000.nii.gz").touch()
    table = {
        "channel_names": {"0": "CT", "1": "PET"},
        "labels": {"background": 0, "liver": [1, 2], "tumour": [2], "ignore": 3},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    if request.param == "1":
        cases = [f"./{{}}/liver_{n}.nii.gz" for n in ("001", "002", "010")]
        table = {
            "labels": {"0": "background", "1": "liver", "2": "tumour"},
            "training": [{"image": c.format("imagesTr"), "label": c.format("labelsTr")} for c in cases],
            "test": ["./imagesTs/liver_003.nii.gz"],
        }
    (tmp_path / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    return tmp_path


def test_folders_of_nnunet(nnunet):
    """The first channel of every scan, with its label map; regions are sets of values."""
    dataset = DecathlonDataset.open(nnunet)
    scans = dataset.subjects("train")
    assert [s.name for s in scans] == [f"liver_{n}_0000.nii.gz" for n in ("001", "002", "010")]
    assert [s.labels.name for s in scans] == [f"liver_{n}.nii.gz" for n in ("001", "002", "010")]
    assert [s.name for s in dataset.subjects("test")] == ["liver_003_0000.nii.gz"]
    assert dataset.labels == [1, 2]


@pytest.mark.parametrize("named", [True, False])
def test_keypoints_and_masks_of_learn2reg(folder, named):
    """By dataset.json or by their folders; what belongs to a scan that is absent is no one else's."""
    for name in ("keypointsTr", "masksTr"):
        (folder / name).mkdir()
    (folder / "keypointsTr" / "s1.csv").touch()
    (folder / "masksTr" / "s1.nii.gz").touch()
    (folder / "keypointsTr" / "s9.csv").touch()
    table = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    table["test"] = [{"image": "./imagesTr/s9.nii.gz", "keypoints": "./keypointsTr/s9.csv"}]
    if named:
        table["training"][0] |= {"keypoints": "./keypointsTr/s1.csv", "mask": "./masksTr/s1.nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    first, second = DecathlonDataset.open(folder).subjects("train")
    assert first.points == folder / "keypointsTr" / "s1.csv"
    assert first.mask == folder / "masksTr" / "s1.nii.gz"
    assert (second.points, second.mask) == (None, None)
