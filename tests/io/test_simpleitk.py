"""Formats of ITK: what SimpleITK and nibabel say of a file is what we say of it."""

from __future__ import annotations

import locale

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from refusals import refusal

from bilevelmorph.data.volume import Volume
from bilevelmorph.io.headers import doubts
from bilevelmorph.io.volumes import load_volume, load_voxels, save_volume

TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])


def oblique(dtype=np.int16):
    image = sitk.GetImageFromArray(np.arange(60).reshape(5, 4, 3).astype(dtype))
    image.SetSpacing((1.5, 2.0, 0.5))
    image.SetOrigin((-7.0, 11.0, 3.0))
    image.SetDirection(TURN.ravel().tolist())
    return image


def check_places(volume, image):
    """Value and world position of every corner and one voxel between."""
    size = image.GetSize()
    for index in [(0, 0, 0), (size[0] - 1, 0, size[2] - 1), (1, 2, 0)]:
        world = volume.affine[:3, :3] @ index + volume.affine[:3, 3]
        expected = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        np.testing.assert_allclose(world, expected, atol=1e-4)
        assert volume.data[index] == image[index]


@pytest.mark.parametrize("ending", ["nrrd", "nhdr", "mha", "mhd", "mnc", "nii.gz", "tif"])
def test_volumes(tmp_path, ending):
    image = oblique(np.uint8 if ending == "tif" else np.int16)
    path = tmp_path / f"a.{ending}"
    sitk.WriteImage(image, str(path))
    expected = sitk.ReadImage(str(path))  # a TIFF keeps no direction
    if ending == "mnc":
        volume = load_volume(path)
        reference = nib.load(path)
        np.testing.assert_allclose(volume.affine, reference.affine, atol=1e-6)
        np.testing.assert_allclose(volume.data, reference.get_fdata(), atol=1e-3)
        return
    check_places(load_volume(path), expected)
    assert load_voxels(path).data.dtype == (np.uint8 if ending == "tif" else np.int16)


@pytest.fixture(autouse=True)
def _the_locale_of_before():
    """Which GDCM changes when these tests write DICOM files."""
    before = locale.setlocale(locale.LC_CTYPE)
    yield
    locale.setlocale(locale.LC_CTYPE, before)


def dicom(folder, series=1):
    """Series of slices, as a scanner writes them."""
    image = oblique()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = image.GetDirection()
    for number in range(series):
        for k in range(image.GetDepth()):
            part = image[:, :, k]
            tags = {
                "0020|000e": f"1.2.3.{number + 1}",
                "0020|0037": "\\".join(str(direction[i]) for i in (0, 3, 6, 1, 4, 7)),
                "0020|0032": "\\".join(map(str, image.TransformIndexToPhysicalPoint((0, 0, k)))),
                "0020|0013": str(k),
                "0008|0060": "MR",
            }
            for tag, value in tags.items():
                part.SetMetaData(tag, value)
            writer.SetFileName(str(folder / f"{number}-{k}.dcm"))
            writer.Execute(part)
    return image


def test_a_folder_with_a_series(tmp_path):
    image = dicom(tmp_path)
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    check_places(load_volume(tmp_path), image)
    load_volume(tmp_path / "0-2.dcm")
    assert locale.setlocale(locale.LC_CTYPE) == "C.UTF-8"  # which GDCM sets to C, for the whole process


def test_a_slice_of_it(tmp_path):
    image = dicom(tmp_path)
    volume = load_volume(tmp_path / "0-2.dcm")
    assert volume.shape == image.GetSize()[:2]
    assert volume.data[2, 3] == image[2, 3, 2]
    first = np.array(image.TransformIndexToPhysicalPoint((0, 0, 2))) * [-1, -1, 1]
    np.testing.assert_allclose(volume.affine[:3, 3], first, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda folder: dicom(folder, 2),
            "a folder with 2 DICOM series, expected an image file",
        ),
        (lambda folder: None, "a folder without DICOM files"),
    ],
)
def test_folders_that_are_no_image(tmp_path, make, message):
    make(tmp_path)
    assert message in refusal(load_volume, tmp_path)


@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_pictures(tmp_path, ending):
    picture = np.add.outer(np.arange(12), 10 * np.arange(9)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(picture.T), str(tmp_path / f"a.{ending}"))
    volume = load_volume(tmp_path / f"a.{ending}")
    assert volume.shape == (12, 9)
    assert np.abs(volume.data - picture).max() <= (3 if ending == "jpg" else 0)
    colours = sitk.GetImageFromArray(np.stack([picture.T] * 3, -1), isVector=True)
    sitk.WriteImage(colours, str(tmp_path / f"rgb.{ending}"))
    assert "colour voxels (RGB)" in refusal(load_volume, tmp_path / f"rgb.{ending}")


@pytest.mark.parametrize("ending", ["nrrd", "mha"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int16, np.uint8, np.int64, np.bool_])
def test_written(tmp_path, ending, dtype):
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    affine[:3, :3] = TURN @ affine[:3, :3]
    affine[:3, 3] = 5, -6, 7
    data = (np.arange(60).reshape(3, 4, 5) % 7).astype(dtype)
    save_volume(tmp_path / f"a.{ending}", Volume(data, affine, "labels"))
    check_places(Volume(data, affine), sitk.ReadImage(str(tmp_path / f"a.{ending}")))
    again = load_voxels(tmp_path / f"a.{ending}")
    np.testing.assert_allclose(again.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(again.data, data)


def test_a_slice_is_written_in_its_plane(tmp_path):
    affine = np.eye(4)[[0, 2, 1, 3]]
    affine[:3, 3] = 1, 2, 3
    save_volume(tmp_path / "a.nrrd", Volume(np.eye(4, dtype=np.float32), affine))
    again = load_volume(tmp_path / "a.nrrd")
    assert again.shape == (4, 4)
    np.testing.assert_allclose(again.affine[:, [0, 1, 3]], affine[:, [0, 1, 3]])


def test_what_itk_refuses(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.3
    volume = Volume(np.zeros([3, 3, 3], np.float32), affine)
    assert "axes that are not perpendicular" in refusal(save_volume, tmp_path / "a.mha", volume)
    assert list(tmp_path.iterdir()) == []


def test_analyze_does_not_tell_left_from_right(tmp_path):
    nib.save(nib.AnalyzeImage(np.arange(60, dtype=np.int16).reshape(3, 4, 5), None), tmp_path / "a.img")
    volume = load_volume(tmp_path / "a.hdr")
    np.testing.assert_allclose(volume.affine, nib.load(tmp_path / "a.img").affine)
    assert "does not tell left from right" in doubts(volume.header, "a.hdr")[0]
