"""Displacements for Learn2Reg, judged as its evaluation does: by the voxels of both images alone."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from refusals import refusal
from scipy.ndimage import gaussian_filter, map_coordinates

import bilevelmorph as bm
from bilevelmorph.cli.main import main
from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.data.volume import Volume
from bilevelmorph.io.volumes import load_volume, save_volume
from bilevelmorph.metrics.overlap import dice


@pytest.fixture
def task(tmp_path):
    """Two scans of one anatomy, three voxels apart in their headers and elsewhere in their grids."""
    anatomy = gaussian_filter(np.random.default_rng(0).random((24, 22, 20)), 2).astype(np.float32)
    for kind in ("images", "labels"):
        (tmp_path / f"{kind}Tr").mkdir()
    for i in range(2):
        affine = np.diag([-1.5, 1.5, 2.0, 1.0])
        affine[0, 3] = -1.5 * 3 * i
        data = anatomy[3 * i : 3 * i + 21]
        name = f"TASK_{i + 1:04d}_0000.nii.gz"
        save_volume(tmp_path / "imagesTr" / name, Volume(data, affine))
        labels = np.digitize(data, [0.49, 0.51]).astype(np.uint8)
        save_volume(tmp_path / "labelsTr" / name, Volume(labels, affine, "labels"))
    pair = {"fixed": "./imagesTr/TASK_0001_0000.nii.gz", "moving": "./imagesTr/TASK_0002_0000.nii.gz"}
    table = {"name": "TASK", "labels": {"1": "grey", "2": "white"}, "registration_val": [pair]}
    (tmp_path / "TASK_dataset.json").write_text(json.dumps(table), encoding="utf-8")
    return tmp_path


def test_its_evaluation_finds_our_dice(task):
    (task / "out").mkdir()
    registrar = bm.Registrar(None, deformable=False)
    (row,) = bm.evaluate(registrar, task, quiet=True, submission=task / "out")
    (path,) = (task / "out").iterdir()
    assert path.name == "disp_0001_0002.nii.gz"
    field = nib.load(path).get_fdata()
    fixed, moving = (
        load_volume(task / "labelsTr" / f"TASK_000{i}_0000.nii.gz", "labels").data for i in (1, 2)
    )
    assert field.shape == (*fixed.shape, 3)
    at = np.moveaxis(np.indices(fixed.shape), 0, -1) + field
    moved = map_coordinates(moving, np.moveaxis(at, -1, 0), order=0)
    np.testing.assert_allclose(field[10, 10, 10], [-3, 0, 0], atol=1e-4)
    found = np.mean(list(dice(moved, fixed, [1, 2]).values()))
    assert row["dice"] == pytest.approx(found, abs=0.02)  # outside, its labels are 0 as well
    assert found > 0.8


@pytest.fixture
def marked(task):
    """The same without label maps; keypoints in voxels, and masks of a part of each scan."""
    shutil.rmtree(task / "labelsTr")
    for name in ("keypointsTr", "masksTr"):
        (task / name).mkdir()
    points = np.array([[9.0, 5, 4], [12, 10, 15], [15.5, 17.25, 8]])
    for i in range(2):
        stem = f"TASK_{i + 1:04d}_0000"
        image = load_volume(task / "imagesTr" / f"{stem}.nii.gz")
        np.savetxt(task / "keypointsTr" / f"{stem}.csv", points - [3 * i, 0, 0], delimiter=",")
        part = np.zeros(image.shape, np.uint8)
        part[:, :8] = 1
        save_volume(task / "masksTr" / f"{stem}.nii.gz", Volume(part, image.affine, "labels"))
    return task


def test_landmarks_without_label_maps(marked):
    """The headers place the scans; by the voxels alone they lie 3 voxels of 1.5 mm apart."""
    (row,) = bm.evaluate(bm.Registrar(None, deformable=False), marked, quiet=True)
    assert row["tre_mm"] == pytest.approx(0, abs=1e-4)
    assert "dice" not in row
    (row,) = bm.evaluate(bm.Registrar(None, deformable=False, init="centre"), marked, quiet=True)
    assert row["tre_mm"] == pytest.approx(4.5, abs=1e-4)


def test_masks_are_used_where_asked(marked):
    """What is far outside both masks, here noise, changes nothing."""
    settings = DescentConfig(levels=(2,), iterations=(3,))
    registrar = bm.Registrar(None, settings=settings, quality="best")
    rows = {}
    for noisy in (False, True):
        if noisy:
            path = marked / "imagesTr" / "TASK_0002_0000.nii.gz"
            image = load_volume(path)
            data = image.data.copy()
            data[:, 17:] = np.random.default_rng(1).permuted(data[:, 17:])
            save_volume(path, Volume(data, image.affine))
        for masks in (False, True):
            rows[noisy, masks] = bm.evaluate(registrar, marked, quiet=True, masks=masks)[0]
    assert rows[True, False]["tre_mm"] != rows[False, False]["tre_mm"]
    assert rows[True, True]["tre_mm"] == pytest.approx(rows[False, True]["tre_mm"], abs=1e-3)


def test_the_command_scores_landmarks(marked, capsys):
    flags = ["--data", marked, "--method", "identity", "--quiet", "--out", marked / "scores.csv"]
    assert main(["evaluate", *map(str, flags)]) == 0
    assert "TRE mm     0.0000" in capsys.readouterr().out
    assert "tre_mm" in (marked / "scores.csv").read_text(encoding="utf-8").splitlines()[0]


def test_numbers_of_landmarks_that_differ(marked):
    np.savetxt(marked / "keypointsTr" / "TASK_0002_0000.csv", np.ones((2, 3)), delimiter=",")
    came = refusal(bm.evaluate, bm.Registrar(None, deformable=False), marked)
    assert "TASK_0002_0000.nii.gz: got 2 landmarks, and 3 of TASK_0001_0000.nii.gz" in came
