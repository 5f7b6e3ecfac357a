"""Series over time: every frame, or one displacement for all of them."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from refusals import refusal
from scipy.ndimage import gaussian_filter

from bilevelmorph.cli.main import main
from bilevelmorph.data.geometry import warp_volume
from bilevelmorph.data.volume import Volume
from bilevelmorph.io.series import load_series, save_series
from bilevelmorph.io.volumes import load_volume, save_volume
from bilevelmorph.io.warps import load_warp

SECONDS = 2.5


@pytest.fixture
def series(tmp_path, rng):
    """Three frames that lie 0, 1 and 2 voxels from the fixed image, 2.5 s apart, on an oblique grid."""
    affine = nib.affines.from_matvec(np.diag([-2.0, 2, 3]) @ rotation(0.2), [5, -3, 10])
    anatomy = gaussian_filter(rng.random((26, 22, 18)), 2).astype(np.float32)
    save_volume(tmp_path / "fixed.nii.gz", Volume(anatomy[2:-2], affine))
    data = np.stack([anatomy[2 - i : 24 - i] for i in range(3)], -1)
    image = nib.Nifti1Image(data, affine)
    image.header.set_zooms((2, 2, 3, SECONDS))
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"patient 7"
    nib.save(image, tmp_path / "series.nii.gz")
    return tmp_path


def rotation(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def register(folder, *flags):
    files = ["--moving", folder / "series.nii.gz", "--fixed", folder / "fixed.nii.gz"]
    how = ["--model", "none", "--instance-steps", 20, "--quiet", "--gpu", -1]
    return main(["register", *map(str, [*files, *how, *flags])])


@pytest.mark.usefixtures("plain_graphs")
def test_each_frame_has_its_own_displacement(series, capsys):
    flags = ["--moved", series / "moved.nii.gz", "--warp", series / "warp.nii.gz"]
    assert register(series, *flags, "--frames", "each", "--report", series / "r.json") == 0
    moved = nib.load(series / "moved.nii.gz")
    frames, fixed = load_series(series / "series.nii.gz"), load_volume(series / "fixed.nii.gz")
    assert moved.shape == (*fixed.shape, 3)
    assert moved.header.get_zooms()[3] == SECONDS
    assert moved.header.get_xyzt_units() == ("mm", "sec")
    assert b"patient" not in moved.header["descrip"].tobytes()
    np.testing.assert_allclose(moved.affine, fixed.affine, atol=1e-5)
    sizes = []
    for i, frame in enumerate(frames):
        warp, _ = load_warp(series / f"warp_{i:04d}.nii.gz")
        fill = json.loads((series / f"r_{i:04d}.json").read_text(encoding="utf-8"))["fill"]
        expected = warp_volume(frame, warp, fixed.affine, fill)
        np.testing.assert_allclose(moved.get_fdata()[..., i], expected.data, atol=1e-4)
        sizes.append(warp[5:-5, 5:-5, 5:-5, 0].mean())
    np.testing.assert_allclose(sizes, [0, 1, 2], atol=0.25)
    assert "frame 2:" in capsys.readouterr().out


@pytest.mark.usefixtures("plain_graphs")
@pytest.mark.parametrize("which", ["first", "mean"])
def test_one_displacement_moves_all_frames(series, which):
    assert register(series, "--out", series / "out", "--frames", which) == 0
    moved = nib.load(series / "out" / "moved.nii.gz").get_fdata()
    warp, affine = load_warp(series / "out" / "warp.nii.gz")
    (summary,) = json.loads((series / "out" / "report.json").read_text(encoding="utf-8"))["frames"]
    assert summary["frame"] == which
    for i, frame in enumerate(load_series(series / "series.nii.gz")):
        expected = warp_volume(frame, warp, affine, summary["fill"])
        np.testing.assert_allclose(moved[..., i], expected.data, atol=1e-4)
    along = warp[5:-5, 5:-5, 5:-5, 0].mean()
    assert along == pytest.approx(0 if which == "first" else 1, abs=0.25)


def test_slices_over_time(tmp_path, rng):
    """With or without an axis of size 1 between; time keeps its place."""
    data = rng.random((9, 8, 1, 4)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "cine.nii.gz")
    frames = load_series(tmp_path / "cine.nii.gz")
    assert [frame.shape for frame in frames] == [(9, 8)] * 4
    save_series(tmp_path / "again.nii.gz", frames)
    np.testing.assert_array_equal(nib.load(tmp_path / "again.nii.gz").get_fdata(), data)


@pytest.mark.parametrize(
    ("flags", "came"),
    [
        (["--moved", "m.nii.gz"], "series.nii.gz: got 4-D data (22x22x18x3)"),
        (["--moved", "m.nrrd", "--frames", "each"], "m.nrrd for a series"),
    ],
)
def test_refusals(series, capsys, monkeypatch, flags, came):
    monkeypatch.chdir(series)
    assert register(series, *flags) == 2
    assert came in capsys.readouterr().err
    assert not list(series.glob("m.*"))


def test_one_volume_is_no_series(series):
    assert "expected a series" in refusal(load_series, series / "fixed.nii.gz")
