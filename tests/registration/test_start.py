"""Instance optimisation from a displacement that is given."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import bilevelmorph as bm
from bilevelmorph.cli.main import main
from bilevelmorph.data.geometry import transform_points, voxel_positions
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError
from bilevelmorph.io.warps import load_warp, save_warp
from bilevelmorph.registration.native_grid import from_native, linear_part, to_native

OBLIQUE = np.array([[0, -1.5, 0.1, 9], [2, 0, 0, -20], [0, 0.1, 1.2, 4], [0, 0, 0, 1.0]])
FAR = np.array([[1.05, 0.1, 0, 60], [-0.1, 0.98, 0, -40], [0, 0, 1.02, 5], [0, 0, 0, 1.0]])


def smooth(rng, shape=(16, 18, 14)):
    return gaussian_filter(rng.standard_normal((*shape, 3)), (4, 4, 4, 0)) * 10


def test_linear_part_of_a_linear_map(rng):
    fixed = Volume(np.zeros((16, 18, 14)), OBLIQUE)
    np.testing.assert_allclose(linear_part(to_native(None, fixed, fixed, FAR), fixed), FAR, atol=1e-3)


def test_a_displacement_there_and_back(rng):
    fixed = Volume(np.zeros((16, 18, 14)), OBLIQUE)
    whole = to_native(smooth(rng).astype(np.float32), fixed, fixed, FAR)
    step = from_native(whole, fixed, fixed, FAR)
    np.testing.assert_allclose(to_native(step, fixed, fixed, FAR), whole, atol=1e-3)


@pytest.fixture(scope="module")
def pair():
    """Scans whose worlds are far apart, and the displacement that takes one to the other."""
    rng = np.random.default_rng(3)
    scan = gaussian_filter(rng.random((24, 26, 22)), 2).astype(np.float32)
    fixed = Volume(scan / scan.max(), np.eye(4))
    moving = Volume(fixed.data, np.eye(4))
    moving.affine[:3, 3] = 300, 0, 0
    truth = np.zeros((*scan.shape, 3), np.float32)
    truth[..., 0] = 300
    return moving, fixed, truth


def test_begins_where_it_is_told(pair):
    moving, fixed, truth = pair
    result = bm.Registrar(None, quality="best", instance_steps=3)(moving, fixed, start=truth)
    assert np.abs(result.displacement - truth).max() < 0.5
    assert result.report["similarity_after"] > 0.99
    here = voxel_positions(fixed.shape).astype(float)
    there = transform_points(result.affine, here)
    np.testing.assert_allclose(there - here, truth, atol=1e-3)


def test_never_worse_than_a_good_start(pair):
    """And better than without it, because the descent alone does not reach so far."""
    moving, fixed, truth = pair
    bent = truth + 0.4 * np.sin(voxel_positions(fixed.shape) / 4).astype(np.float32)
    found = bm.register(moving, fixed, None, quality="best", start=bent)
    assert np.abs(found.displacement - truth)[4:-4, 4:-4, 4:-4].mean() < 0.6 * np.abs(bent - truth).mean()


def test_from_a_file_of_another_tool(pair, tmp_path):
    moving, fixed, truth = pair
    for name, volume in (("a", moving), ("b", fixed)):
        bm.save_volume(tmp_path / f"{name}.nii.gz", volume)
    save_warp(tmp_path / "start.nii.gz", truth, fixed.affine, "itk")
    files = [f"--{k}={tmp_path / v}" for k, v in {"moving": "a.nii.gz", "fixed": "b.nii.gz"}.items()]
    files += [f"--moved={tmp_path / 'moved.nii.gz'}", f"--warp={tmp_path / 'warp.nii.gz'}"]
    options = ["--model", "none", "--instance-steps", "2", "--gpu", "-1", "--quiet"]
    assert main(["register", *files, *options, "--start-warp", str(tmp_path / "start.nii.gz")]) == 0
    assert np.abs(load_warp(tmp_path / "warp.nii.gz")[0] - truth).max() < 0.5


@pytest.mark.parametrize(
    ("options", "start", "said"),
    [
        ({}, np.zeros((4, 4, 4, 3)), "start_warp: got 4x4x4x3, expected 24x26x22x3, that of the fixed image"),
        ({"affine": "affine"}, None, "start_warp: got affine=affine beside it, expected one of the two"),
        ({"quality": "fast"}, None, "start_warp: got quality=fast beside it, with which nothing follows"),
    ],
)
def test_bad_input(pair, options, start, said):
    moving, fixed, truth = pair
    registrar = bm.Registrar(None, **{"quality": "best", **options})
    with pytest.raises(InputError, match=said):
        registrar(moving, fixed, start=truth if start is None else start)


def test_a_warp_of_another_grid(pair, tmp_path, capsys):
    moving, fixed, truth = pair
    for name, volume in (("a", moving), ("b", fixed)):
        bm.save_volume(tmp_path / f"{name}.nii.gz", volume)
    save_warp(tmp_path / "start.nii.gz", truth, 2 * np.eye(4), "voxelmorph")
    line = [
        "register",
        "--moving",
        "a.nii.gz",
        "--fixed",
        "b.nii.gz",
        "--moved",
        "m.nii.gz",
        "--model",
        "none",
    ]
    words = [str(tmp_path / w) if w.endswith(".gz") else w for w in line]
    assert main([*words, "--start-warp", str(tmp_path / "start.nii.gz")]) == 2
    assert "a warp of another grid, expected one on the grid of" in capsys.readouterr().err
    assert not (tmp_path / "m.nii.gz").exists()
