"""Pairs of small scans, and methods of users."""

from __future__ import annotations

import json
import textwrap

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bilevelmorph.datasets.decathlon import DecathlonDataset

SHIFT = 2

# A method of a user: it knows the answer, or does what its setting says.
METHOD = '''
"""A method of a user."""
PACKAGES = ("numpy",)
MODULES = ("nibabel",)
SETTINGS = {"shift": "knows the answer", "crash": "", "raise": "", "hang": "", "small": "", "nan": "",
            "none": ""}


def prepare(case):
    import nibabel

    return case.setting, nibabel.load(case.fixed).shape


def register(prepared):
    import os
    import time
    import numpy

    setting, shape = prepared
    print("printed where the answers go")
    if setting == "crash":
        os._exit(7)
    if setting == "raise":
        raise ValueError("it does not\\nconverge")
    if setting == "hang":
        time.sleep(600)
    shape = shape[:-1] + (1,) if setting == "small" else shape
    found = numpy.zeros((*shape, 3), "float32")
    found[..., 0] = float("nan") if setting == "nan" else 2
    return found


def save(prepared, result, path):
    import numpy

    if prepared[0] != "none":
        numpy.save(path + ".npy", result)
'''


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    """Three validation pairs, the moving scans shifted by `SHIFT` voxels along the first axis."""
    root = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    where = np.stack(np.meshgrid(*map(np.arange, (24, 22, 20)), indexing="ij"), -1)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir()
    affine = np.diag([-2.0, 1.5, 1.0, 1.0])
    affine[:3, 3] = 30, -20, 10
    for number in range(4):
        image = sum(
            height * np.exp(-(((where - at) / size) ** 2).sum(-1))
            for height, at, size in zip(
                (100, 60, 40), rng.uniform(8, 14, (3, 3)), rng.uniform(2, 4, (3, 3)), strict=True
            )
        )
        texture = gaussian_filter(rng.random(image.shape), 1)
        image = image * (1 + 6 * (texture - texture.mean())) + 30 * (image > 20)
        seg = (image > 50).astype(int) + (image > 90)
        moved = (np.roll(x, SHIFT, 0) for x in (image, seg))
        for kind, (a, b) in (("", (image, seg)), ("m", moved)):
            nib.save(
                nib.Nifti1Image(a.astype(np.float32), affine), root / "imagesTr" / f"s{number}{kind}.nii.gz"
            )
            nib.save(
                nib.Nifti1Image(b.astype(np.uint8), affine), root / "labelsTr" / f"s{number}{kind}.nii.gz"
            )
    pairs = [{"fixed": f"./imagesTr/s{i}.nii.gz", "moving": f"./imagesTr/s{i}m.nii.gz"} for i in range(3)]
    entries = [{"image": f"./imagesTr/s{i}{k}.nii.gz"} for i in range(4) for k in ("", "m")]
    content = {"name": "boxes", "labels": {"0": "background", "1": "shell", "2": "core"}}
    content |= {"validation": entries, "registration_val": pairs}
    (root / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def shift():
    """Voxels by which moving scans are shifted."""
    return SHIFT


@pytest.fixture(scope="session")
def pairs(scans):
    return DecathlonDataset.open(scans).pairs("val")


@pytest.fixture
def users_method(tmp_path):
    """The file of a user's method."""
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(METHOD), encoding="utf-8")
    return path
