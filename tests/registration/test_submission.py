"""Displacements for Learn2Reg, judged as its evaluation does: by the voxels of both images alone."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

import bilevelmorph as bm
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
