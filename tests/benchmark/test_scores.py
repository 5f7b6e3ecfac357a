"""Scores against values known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from bilevelmorph.benchmark.prepared_case import PreparedCase
from bilevelmorph.benchmark.scores import inconsistency, read_displacement, scores_of
from bilevelmorph.data.volume import Volume
from bilevelmorph.io.warps import save_warp

AFFINE = np.array([[-2.0, 0, 0, 5], [0, 1.5, 0, -3], [0, 0, 1, 2], [0, 0, 0, 1]])


@pytest.fixture
def case():
    image = Volume(np.ones((12, 10, 8), np.float32), AFFINE)
    labels = np.zeros((12, 10, 8), np.int32)
    labels[3:8, 2:7, 2:6] = 4
    seg = Volume(labels, AFFINE, "labels")
    points = np.array([[1.0, 2.0, 5.0], [-3.0, 1.0, 4.0]])
    return PreparedCase(image, image, seg, seg, (points + np.array([2.0, 0, 0]), points), True)


def shifted(shift, shape=(12, 10, 8)):
    out = np.zeros((*shape, 3), np.float32)
    out[..., 0] = shift
    return out


def test_identity(case):
    row = scores_of(case, shifted(0), [4])
    assert row == {
        "dice": 1.0,
        "hd95_mm": 0.0,
        "dice_4": 1.0,
        "tre_mm": pytest.approx(2.0),
        "folding_percent": 0.0,
        "log_jacobian_sd": 0.0,
    }


def test_landmarks_follow_the_displacement(case):
    # One voxel along the first axis is -2 mm in x; the landmarks are 2 mm apart.
    assert scores_of(case, shifted(-1), [4])["tre_mm"] == pytest.approx(0.0, abs=1e-5)


def test_shift_by_one_voxel(case):
    row = scores_of(case, shifted(1), [4])
    assert row["dice"] == pytest.approx(4 / 5)
    assert row["hd95_mm"] == pytest.approx(2.0)


def test_folding_is_counted(case):
    reflected = shifted(0)
    reflected[..., 0] = -2.0 * np.arange(12)[:, None, None]
    assert scores_of(case, reflected, [4])["folding_percent"] == 100


def test_inconsistency_is_the_distance_after_both_ways(case):
    assert inconsistency(case, shifted(1), shifted(-1)) == pytest.approx(0, abs=1e-5)
    assert inconsistency(case, shifted(1), shifted(0)) == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize("form", ["npy", "itk"])
def test_both_forms_of_displacements(case, tmp_path, form, rng):
    field = rng.normal(size=(12, 10, 8, 3)).astype(np.float32)
    path = str(tmp_path / "out")
    if form == "npy":
        np.save(f"{path}.npy", field)
    else:
        save_warp(f"{path}.nii.gz", field, AFFINE, "itk")
    np.testing.assert_allclose(read_displacement(path, case.fixed), field, atol=1e-5)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (None, "wrote no displacement"),
        (shifted(0, (12, 10, 7)), r"\(12, 10, 7, 3\)"),
        (shifted(np.inf), "not finite"),
        (np.full((12, 10, 8, 3), "a"), "not finite"),
    ],
)
def test_nonsense_is_named(case, tmp_path, field, message):
    if field is not None:
        np.save(tmp_path / "out.npy", field)
    with pytest.raises(RuntimeError, match=message):
        read_displacement(str(tmp_path / "out"), case.fixed)
