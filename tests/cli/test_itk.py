"""Warps that SimpleITK and ANTs apply to the same effect, from any orientation and spacing."""

from __future__ import annotations

import typing

import ants
import numpy as np
import pytest
import SimpleITK
from scipy.ndimage import gaussian_filter, map_coordinates

from bilevelmorph.cli.main import main
from bilevelmorph.cli.options import WarpFormat
from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError
from bilevelmorph.io.itk import load_itk_affine, save_itk_affine
from bilevelmorph.io.volumes import load_volume, save_volume
from bilevelmorph.io.warps import WARP_FORMATS, load_warp, save_warp

SHAPE = (22, 26, 24)


def turned(angle, axis=2):
    a, b = [i for i in range(3) if i != axis]
    out = np.eye(3)
    out[a, a] = out[b, b] = np.cos(angle)
    out[a, b], out[b, a] = -np.sin(angle), np.sin(angle)
    return out


GRIDS = {
    "RAS": np.eye(3),
    "LAS": np.diag([-1.0, 1, 1]),
    "LPS": np.diag([-1.0, -1, 1]),
    "anisotropic": np.diag([1.2, -0.9, 2.0]),
    "oblique": turned(0.3) @ turned(-0.2, 0) @ np.diag([1.1, 1.0, -1.4]),
    "exchanged": np.array([[0.0, 0, 1.5], [-1, 0, 0], [0, 1.2, 0]]),
}


def world(linear):
    """Around the origin, as scanners have it."""
    out = np.eye(4)
    out[:3, :3] = linear
    out[:3, 3] = -linear @ (np.array(SHAPE) - 1) / 2 + [3, -2, 1]
    return out


@pytest.fixture(scope="module", params=GRIDS)
def folder(request, tmp_path_factory, tiny_model):
    """A moving scan of one grid, a fixed one of another, registered with a rigid step and a model."""
    out = tmp_path_factory.mktemp(request.param)
    grids = {"moving": world(GRIDS[request.param]), "fixed": world(turned(0.1) @ GRIDS["LAS"])}
    if request.param in ("oblique", "LPS"):
        grids = dict(zip(grids, reversed(grids.values()), strict=True))
    anatomy = gaussian_filter(np.random.default_rng(0).random((80, 80, 80)), 3)
    anatomy = (anatomy - anatomy.min()) / np.ptp(anatomy)
    shifted = np.eye(4)
    shifted[:3] = np.c_[turned(0.06), [1.5, -1, 0.5]]
    for (name, grid), motion in zip(grids.items(), (shifted, np.eye(4)), strict=True):
        at = np.moveaxis(np.indices(SHAPE), 0, -1) @ (motion @ grid)[:3, :3].T + (motion @ grid)[:3, 3]
        image = map_coordinates(anatomy, np.moveaxis(at, -1, 0) + 40, order=1)
        save_volume(out / f"{name}.nii.gz", Volume(image.astype(np.float32), grid))
        labels = np.digitize(image, [0.4, 0.5, 0.6]).astype(np.uint8)
        save_volume(out / f"{name}_seg.nii.gz", Volume(labels, grid, "labels"))
    arguments = [
        "register",
        "--gpu",
        "-1",
        "--model",
        tiny_model,
        "--affine",
        "rigid",
        "--warp-format",
        "itk",
    ]
    for flag in ("moving", "fixed", "moved", "warp", "inverse-warp", "moving-seg", "moved-seg"):
        arguments += [f"--{flag}", out / f"{flag.replace('-', '_')}.nii.gz"]
    arguments += ["--affine-file", out / "affine.mat", "--transform", out / "whole.h5"]
    arguments += ["--inverse-transform", out / "back.h5"]
    assert main([str(a) for a in arguments]) == 0
    return out


def interior(path):
    """Voxels of the moved image whose source lies well inside: where it is not padded."""
    displacement, grid = load_warp(path / "warp.nii.gz")
    fixed, moving = (load_volume(path / f"{n}.nii.gz") for n in ("fixed", "moving"))
    at = np.stack(np.meshgrid(*map(np.arange, fixed.shape), indexing="ij"), -1) + displacement
    there = np.linalg.inv(moving.affine) @ grid
    at = at @ there[:3, :3].T + there[:3, 3]
    return ((at > 1) & (at < np.array(moving.shape) - 2)).all(-1)


def compare(path, image, labels):
    inside = interior(path)
    assert inside.mean() > 0.2
    moved = load_volume(path / "moved.nii.gz").data
    assert np.abs(image - moved)[inside].max() < 1e-3 * np.ptp(moved)
    seg = load_volume(path / "moved_seg.nii.gz", "labels").data
    assert (labels == seg)[inside].mean() >= 0.999


def test_simpleitk_resamples_the_same(folder):
    field = SimpleITK.ReadImage(str(folder / "warp.nii.gz"), SimpleITK.sitkVectorFloat64)
    transform = SimpleITK.DisplacementFieldTransform(field)
    fixed = SimpleITK.ReadImage(str(folder / "fixed.nii.gz"))
    out = []
    for name, kind in (("moving", SimpleITK.sitkLinear), ("moving_seg", SimpleITK.sitkNearestNeighbor)):
        moving = SimpleITK.ReadImage(str(folder / f"{name}.nii.gz"))
        moved = SimpleITK.Resample(moving, fixed, transform, kind)
        out.append(SimpleITK.GetArrayFromImage(moved).transpose(2, 1, 0))
    compare(folder, *out)


def test_ants_resamples_the_same(folder):
    fixed = ants.image_read(str(folder / "fixed.nii.gz"))
    out = []
    for name, kind in (("moving", "linear"), ("moving_seg", "nearestNeighbor")):
        moving = ants.image_read(str(folder / f"{name}.nii.gz"))
        moved = ants.apply_transforms(fixed, moving, [str(folder / "warp.nii.gz")], interpolator=kind)
        out.append(moved.numpy())
    compare(folder, *out)


@pytest.mark.parametrize("program", ["SimpleITK", "ANTs"])
def test_the_composite_is_the_whole_map(folder, program):
    """The affine part and the rest, in one file, applied by others."""
    out = []
    for name, kind in (("moving", "linear"), ("moving_seg", "nearestNeighbor")):
        files = [str(folder / f"{n}.nii.gz") for n in ("fixed", name)]
        if program == "ANTs":
            images = map(ants.image_read, files)
            moved = ants.apply_transforms(*images, [str(folder / "whole.h5")], interpolator=kind)
            out.append(moved.numpy())
            continue
        transform = SimpleITK.ReadTransform(str(folder / "whole.h5"))
        way = SimpleITK.sitkLinear if kind == "linear" else SimpleITK.sitkNearestNeighbor
        fixed, moving = map(SimpleITK.ReadImage, files)
        out.append(SimpleITK.GetArrayFromImage(SimpleITK.Resample(moving, fixed, transform, way)).transpose())
    compare(folder, *out)


def test_the_composites_are_affine_and_rest(folder):
    whole, back = (SimpleITK.ReadTransform(str(folder / f"{n}.h5")) for n in ("whole", "back"))
    for transform, invert in ((whole, False), (back, True)):
        parts = SimpleITK.CompositeTransform(transform)
        assert parts.GetNumberOfTransforms() == 2
        linear = parts.GetNthTransform(0)
        alone = SimpleITK.ReadTransform(str(folder / "affine.mat"))
        alone = alone.GetInverse() if invert else alone
        point = (3.0, -4.0, 5.0)
        np.testing.assert_allclose(linear.TransformPoint(point), alone.TransformPoint(point), atol=1e-4)
    field, grid = load_warp(folder / "inverse_warp.nii.gz")
    middle = np.array(field.shape[:3]) // 2
    flip = np.array([-1.0, -1, 1])
    world, there = (grid[:3, :3] @ at + grid[:3, 3] for at in (middle, middle + field[tuple(middle)]))
    np.testing.assert_allclose(back.TransformPoint((world * flip).tolist()), there * flip, atol=1e-3)


def test_our_warp_command_reads_it(folder, tmp_path):
    """What was written in ITK's form does what was written in ours."""
    arguments = ["warp", "--moving", folder / "moving.nii.gz", "--warp", folder / "warp.nii.gz"]
    assert main([str(a) for a in [*arguments, "--moved", tmp_path / "moved.nii.gz"]]) == 0
    again = load_volume(tmp_path / "moved.nii.gz").data
    np.testing.assert_allclose(again, load_volume(folder / "moved.nii.gz").data, atol=1e-4)


def test_points_agree_with_ants(folder, tmp_path):
    """`antsApplyTransformsToPoints` maps points of the fixed image, in LPS, as `warp-points` does."""
    import pandas

    fixed = load_volume(folder / "fixed.nii.gz")
    voxels = np.argwhere(interior(folder))[::97][:20]
    ras = voxels @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    lps = ras * [-1, -1, 1]
    text = "x,y,z\n" + "\n".join(",".join(f"{v:.6f}" for v in p) for p in lps)
    (tmp_path / "points.csv").write_text(text, encoding="utf-8")
    arguments = ["warp-points", "--points", tmp_path / "points.csv", "--warp", folder / "warp.nii.gz"]
    arguments += ["--moved", tmp_path / "moved.csv", "--space", "lps"]
    assert main([str(a) for a in arguments]) == 0
    ours = np.loadtxt(tmp_path / "moved.csv", delimiter=",", skiprows=1)
    table = pandas.DataFrame(lps, columns=["x", "y", "z"])
    theirs = ants.apply_transforms_to_points(3, table, [str(folder / "warp.nii.gz")])
    np.testing.assert_allclose(ours, theirs[["x", "y", "z"]].to_numpy(), atol=2e-3)


def test_the_affine_file(folder):
    """ANTs reads it, and so do we."""
    matrix = load_itk_affine(folder / "affine.mat")
    assert np.abs(matrix - np.eye(4)).max() > 1e-3
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-6)
    point = np.array([4.0, -3.0, 7.0])
    expected = (matrix @ [*point, 1])[:3]
    read = ants.read_transform(str(folder / "affine.mat"))
    theirs = np.array(ants.apply_ants_transform_to_point(read, (point * [-1, -1, 1]).tolist()))
    np.testing.assert_allclose(theirs * [-1, -1, 1], expected, atol=1e-4)


@pytest.mark.parametrize("ending", [".txt", ".mat", ".tfm"])
@pytest.mark.parametrize("ndims", [2, 3])
def test_affine_round_trip(tmp_path, ending, ndims):
    matrix = np.eye(4)
    matrix[:ndims, :ndims] += np.random.default_rng(0).normal(0, 0.2, (ndims, ndims))
    matrix[:ndims, 3] = [5, -4, 3][:ndims]
    save_itk_affine(tmp_path / f"a{ending}", matrix, ndims)
    np.testing.assert_allclose(load_itk_affine(tmp_path / f"a{ending}"), matrix, atol=1e-9)


@pytest.mark.parametrize("ndims", [2, 3])
def test_warp_round_trip(tmp_path, ndims):
    rng = np.random.default_rng(0)
    grid = world(GRIDS["oblique"]) if ndims == 3 else np.diag([-2.0, 3, 1, 1])
    field = rng.normal(size=(*SHAPE[:ndims], ndims)).astype(np.float32)
    save_warp(tmp_path / "w.nii.gz", field, grid, "itk")
    back, affine = load_warp(tmp_path / "w.nii.gz")
    np.testing.assert_allclose(back, field, atol=1e-5)
    np.testing.assert_allclose(affine, grid, atol=1e-5)


def test_what_itk_has_no_form_for(tmp_path):
    with pytest.raises(InputError, match="npz"):
        save_warp(tmp_path / "w.npz", np.zeros((4, 4, 4, 3)), np.eye(4), "itk")
    with pytest.raises(InputError, match="warp_format"):
        save_warp(tmp_path / "w.nii", np.zeros((4, 4, 4, 3)), np.eye(4), "fsl")
    (tmp_path / "a.txt").write_text("nothing", encoding="utf-8")
    with pytest.raises(InputError, match="cannot read"):
        load_itk_affine(tmp_path / "a.txt")
    assert not list(tmp_path.glob("w.*"))


def test_the_command_names_every_format():
    assert typing.get_args(WarpFormat) == WARP_FORMATS
