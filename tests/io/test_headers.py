"""Headers as nibabel and ITK read them, and what is said where they do not agree."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError
from bilevelmorph.io.headers import affine_of, doubts
from bilevelmorph.io.volumes import load_volume, save_volume
from bilevelmorph.io.warps import load_warp, save_warp

SCANNER = np.array([[-2.0, 0, 0, 30], [0, 0, 3, -20], [0, 2.5, 0, 7], [0, 0, 0, 1]])
SHEARED = SCANNER @ np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@pytest.fixture
def voxels(rng):
    return rng.random((4, 5, 6)).astype(np.float32)


def written(path, voxels, sform, qform, unit="mm", scale=1.0):
    """A file with two forms, each ``(affine, code)``."""
    image = nib.Nifti1Image(voxels, None)
    image.header.set_zooms((2, 2, 2))
    for form, change in ((sform, image.set_sform), (qform, image.set_qform)):
        affine = np.array(form[0])
        affine[:3] *= scale
        change(affine, form[1])
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def itk_affine(path):
    """The affine of a file as ITK understands it, RAS."""
    image = sitk.ReadImage(str(path))
    n = image.GetDimension()
    affine = np.eye(4)
    affine[:n, :n] = np.reshape(image.GetDirection(), (n, n)) * np.array(image.GetSpacing())
    affine[:n, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1.0]) @ affine


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1), ("micron", 1e3), ("meter", 1e-3), ("unknown", 1)])
def test_any_unit_is_millimetres_here_as_for_itk(tmp_path, voxels, unit, scale):
    path = written(tmp_path / "a.nii", voxels, (SCANNER, 1), (SCANNER, 1), unit, scale)
    volume = load_volume(path)
    np.testing.assert_allclose(volume.affine, SCANNER, atol=1e-4)
    np.testing.assert_allclose(itk_affine(path), SCANNER, atol=1e-3)
    assert len(doubts(volume.header, "a.nii")) == (scale != 1)
    save_volume(tmp_path / "b.nii", volume)
    assert nib.load(tmp_path / "b.nii").header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(itk_affine(tmp_path / "b.nii"), SCANNER, atol=1e-3)


@pytest.mark.parametrize(("s_code", "q_code"), [(1, 1), (2, 1), (1, 2), (4, 1), (0, 1), (1, 0)])
def test_forms_that_differ_are_named_with_what_itk_takes(tmp_path, voxels, s_code, q_code):
    other = SCANNER.copy()
    other[0, 3] += 12
    path = written(tmp_path / "a.nii", voxels, (SCANNER, s_code), (other, q_code))
    volume = load_volume(path)
    said = doubts(volume.header, "a.nii")
    if s_code and q_code:
        (text,) = said
        assert "differ by up to 12 mm" in text
        taken = SCANNER if text.endswith("ITK takes the sform") else other
        np.testing.assert_allclose(itk_affine(path), taken, atol=1e-4)
        np.testing.assert_allclose(volume.affine, SCANNER, atol=1e-4)
    else:
        assert not said
        np.testing.assert_allclose(itk_affine(path), volume.affine, atol=1e-4)


def test_a_file_without_forms_is_doubted_and_what_is_written_of_it_is_not(tmp_path, voxels):
    volume = load_volume(written(tmp_path / "a.nii", voxels, (SCANNER, 0), (SCANNER, 0)))
    assert "neither sform nor qform" in doubts(volume.header, "a.nii")[0]
    for kind, name in (("image", "b.nii"), ("labels", "c.nii")):
        header = volume.header if kind == "image" else None
        save_volume(tmp_path / name, Volume(np.ones((4, 5, 6), np.uint8), volume.affine, kind, header=header))
        np.testing.assert_allclose(itk_affine(tmp_path / name), volume.affine, atol=1e-4)
        assert not doubts(nib.load(tmp_path / name).header, name)


@pytest.mark.parametrize("form", ["voxelmorph", "itk"])
def test_a_warp_lies_where_its_grid_lies(tmp_path, form):
    save_warp(tmp_path / "w.nii.gz", np.zeros((4, 5, 6, 3), np.float32), SCANNER, form)
    header = nib.load(tmp_path / "w.nii.gz").header
    for affine in (header.get_sform(), header.get_qform()):
        np.testing.assert_allclose(affine, SCANNER, atol=1e-4)


def test_sheared_grids(tmp_path, voxels):
    """They are kept in the sform, doubted, and not promised to ITK."""
    save_volume(tmp_path / "a.nii", Volume(voxels, SHEARED))
    volume = load_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.affine, SHEARED, atol=1e-5)
    assert "not perpendicular" in doubts(volume.header, "a.nii")[0]
    field = np.ones((4, 5, 6, 3), np.float32)
    with pytest.raises(InputError, match="not perpendicular"):
        save_warp(tmp_path / "w.nii.gz", field, SHEARED, "itk")
    assert not (tmp_path / "w.nii.gz").exists()
    save_warp(tmp_path / "w.nii.gz", field, SHEARED)
    np.testing.assert_allclose(load_warp(tmp_path / "w.nii.gz")[0], field)


@pytest.mark.parametrize("size", [1e-7, 2.5e-5, 1e4])
def test_voxels_of_any_size_have_an_inverse(size):
    assert Volume(np.ones((2, 2, 2)), np.diag([size, size, size, 1])).spacing[0] == pytest.approx(size)
    with pytest.raises(InputError, match="singular"):
        Volume(
            np.ones((2, 2, 2)), np.array([[size, size, 0, 0], [size, size, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        )


def test_other_programs_headers_are_no_reason_for_doubts():
    image = nib.MGHImage(np.ones((2, 2, 2), np.float32), np.eye(4))
    assert doubts(image.header, "a.mgz") == []
    assert affine_of(image).tolist() == np.eye(4).tolist()
