"""Files: round trips, geometry, types, whole files or none."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from refusals import refusal

from bilevelmorph.data.volume import Volume
from bilevelmorph.errors import InputError
from bilevelmorph.io.atomic import atomic_path
from bilevelmorph.io.volumes import load_channels, load_volume, load_voxels, save_volume


def rotation(degrees, axis):
    """A rotation about one axis, ``[3, 3]``."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(3)
    i, j = [a for a in range(3) if a != axis]
    turn[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return turn


def affine_of(linear):
    out = np.eye(4)
    out[:3, :3] = linear
    out[:3, 3] = -11.5, 7.25, 30.0
    return out


AFFINES = {
    "ras": affine_of(np.eye(3)),
    "las": affine_of(np.diag([-1.0, 1, 1])),
    "lps": affine_of(np.diag([-1.0, -1, 1])),
    "oblique": affine_of(rotation(20, 2) @ rotation(-10, 0) @ np.diag([1.2, 0.9, 2.0])),
    "anisotropic": affine_of(np.diag([0.5, 1.5, 3.0])),
}
WRITABLE = (".nii", ".nii.gz", ".npz")


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("ending", WRITABLE)
def test_round_trip_keeps_geometry(tmp_path, rng, ending, affine):
    path = tmp_path / f"scan{ending}"
    data = rng.normal(size=(5, 6, 7)).astype(np.float32)
    save_volume(path, Volume(data, affine))
    back = load_volume(path)
    np.testing.assert_array_equal(back.data, data)
    np.testing.assert_allclose(back.affine, affine, atol=1e-5)
    np.testing.assert_allclose(back.spacing, np.linalg.norm(affine[:3, :3], axis=0), atol=1e-5)
    assert back.data.dtype == np.float32
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("ending", WRITABLE)
def test_round_trip_keeps_dtype(tmp_path, rng, ending, dtype):
    path = tmp_path / f"scan{ending}"
    data = rng.integers(0, 200, (5, 6, 7)).astype(dtype)
    save_volume(path, Volume(data, np.eye(4)))
    back = load_voxels(path)
    np.testing.assert_array_equal(back.data, data)
    assert back.data.dtype == dtype


def test_dtypes_that_nifti_lacks_are_widened(tmp_path):
    numbers = np.arange(60).reshape(3, 4, 5)
    for dtype in (np.float16, np.int64, np.uint64, bool):
        path = tmp_path / f"{np.dtype(dtype)}.nii.gz"
        save_volume(path, Volume(numbers.astype(dtype), np.eye(4)))
        np.testing.assert_array_equal(load_voxels(path).data, numbers.astype(dtype))


@pytest.mark.parametrize("ending", WRITABLE)
def test_two_dimensions(tmp_path, rng, ending):
    data = rng.random((6, 5)).astype(np.float32)
    save_volume(tmp_path / f"slice{ending}", Volume(data, AFFINES["anisotropic"]))
    back = load_volume(tmp_path / f"slice{ending}")
    np.testing.assert_array_equal(back.data, data)
    assert back.spacing.tolist() == [0.5, 1.5]


def test_header_of_scaled_integers_does_not_spoil_what_is_written(tmp_path, rng):
    image = nib.Nifti1Image(rng.integers(0, 99, (4, 5, 6)).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    image.header["descrip"], image.header["intent_name"] = b"a patient", b"of another image"
    image.header["cal_max"] = 3
    nib.save(image, tmp_path / "in.nii.gz")
    scan = load_volume(tmp_path / "in.nii.gz")
    np.testing.assert_allclose(scan.data, np.asarray(image.dataobj) * 0.5 + 10)
    new = rng.normal(size=scan.shape).astype(np.float32)
    save_volume(tmp_path / "out.nii.gz", scan.with_data(new))
    written = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), new)
    assert written.header["descrip"] == written.header["intent_name"] == b""
    assert written.header["cal_max"] == 0


def test_mgz(tmp_path, rng):
    data = rng.random((5, 6, 7)).astype(np.float32)
    nib.save(nib.MGHImage(data, AFFINES["oblique"].astype(np.float32)), tmp_path / "a.mgz")
    back = load_volume(tmp_path / "a.mgz")
    np.testing.assert_array_equal(back.data, data)
    np.testing.assert_allclose(back.affine, AFFINES["oblique"], atol=1e-4)
    save_volume(tmp_path / "b.nii.gz", back)
    np.testing.assert_array_equal(load_volume(tmp_path / "b.nii.gz").data, data)


def test_npy_has_no_geometry(tmp_path, rng):
    data = rng.random((5, 6))
    np.save(tmp_path / "a.npy", data)
    back = load_volume(tmp_path / "a.npy")
    np.testing.assert_allclose(back.data, data, rtol=1e-6)
    np.testing.assert_array_equal(back.affine, np.eye(4))


def test_npz_keys(tmp_path):
    image, labels = np.arange(20.0).reshape(4, 5), np.arange(20).reshape(4, 5) % 3
    path = tmp_path / "both.npz"
    np.savez(path, vol=image, seg=labels, other=image + 1)
    np.testing.assert_array_equal(load_volume(path).data, image)
    np.testing.assert_array_equal(load_volume(path, "labels").data, labels)
    np.testing.assert_array_equal(load_volume(path, key="other").data, image + 1)
    with pytest.raises(InputError, match=r"both\.npz: got arrays vol, seg, other, expected one called no"):
        load_volume(path, key="no")
    np.savez(tmp_path / "single.npz", anything=image)
    np.testing.assert_array_equal(load_volume(tmp_path / "single.npz").data, image)


def test_labels_stored_as_float_are_read_as_integers(tmp_path):
    labels = (np.arange(60).reshape(3, 4, 5) % 7).astype(np.float32)
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "seg.nii.gz")
    back = load_volume(tmp_path / "seg.nii.gz", "labels")
    assert back.data.dtype == np.int32
    assert back.kind == "labels"
    np.testing.assert_array_equal(back.data, labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32])
def test_labels_keep_their_integer_type(tmp_path, dtype):
    labels = (np.arange(60).reshape(3, 4, 5) % 7).astype(dtype)
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "seg.nii")
    assert load_volume(tmp_path / "seg.nii", "labels").data.dtype == dtype


def test_axes_of_size_1_at_the_end_are_dropped(tmp_path):
    nib.save(nib.Nifti1Image(np.arange(60.0).reshape(3, 4, 5, 1), np.eye(4)), tmp_path / "a.nii")
    assert load_volume(tmp_path / "a.nii").shape == (3, 4, 5)


def test_channels(tmp_path, rng):
    data = rng.random((4, 5, 6, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, AFFINES["lps"]), tmp_path / "a.nii")
    first, second = load_channels(tmp_path / "a.nii")
    np.testing.assert_array_equal(np.stack([first.data, second.data], -1), data)
    np.testing.assert_allclose(second.affine, AFFINES["lps"])


GOOD = np.arange(60, dtype=np.float32).reshape(3, 4, 5)


@pytest.mark.parametrize("name", ["a.mgz", "a.png", "a.npy", "a"])
def test_unwritable_ending(tmp_path, name):
    assert name in refusal(save_volume, tmp_path / name, Volume(GOOD, np.eye(4)))
    assert list(tmp_path.iterdir()) == []


def write_then_break(path):
    with atomic_path(path) as temporary:
        assert path.parent.samefile(temporary.rsplit("/", 1)[0])
        with open(temporary, "w", encoding="utf-8") as stream:
            stream.write("half of the n")
        raise RuntimeError("the disk is full")


@pytest.mark.parametrize("before", [None, "old"])
def test_replacing_leaves_nothing_behind_on_failure(tmp_path, before):
    path = tmp_path / "a.nii.gz"
    if before:
        path.write_text(before, encoding="utf-8")
    with pytest.raises(RuntimeError, match="the disk is full"):
        write_then_break(path)
    assert [p.name for p in tmp_path.iterdir()] == (["a.nii.gz"] if before else [])
    if before:
        assert path.read_text(encoding="utf-8") == before


def test_replacing_replaces_and_is_readable_by_others(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old", encoding="utf-8")
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        stream.write("new")
    assert path.read_text(encoding="utf-8") == "new"
    assert path.stat().st_mode & 0o444 == 0o444
    assert len(list(tmp_path.iterdir())) == 1


def test_replacing_needs_a_folder_and_a_name(tmp_path):
    assert "make it first" in refusal(save_volume, tmp_path / "no" / "a.nii", Volume(GOOD, np.eye(4)))
    (tmp_path / "a.nii").mkdir()
    assert "a folder" in refusal(save_volume, tmp_path / "a.nii", Volume(GOOD, np.eye(4)))


@pytest.mark.parametrize("stored", [np.int64, np.float64])
@pytest.mark.parametrize("highest", [7, 100_000, 2**31 - 1, 2**31, 3 * 10**9])
def test_label_numbers_of_any_size_come_back(tmp_path, highest, stored):
    """As they were, by nibabel, and in 32 bits where these suffice, which every program reads."""
    data = np.zeros((4, 5, 6), stored)
    data[1:3] = highest
    nib.save(nib.Nifti1Image(data, np.eye(4), dtype=stored), tmp_path / "in.nii")
    save_volume(tmp_path / "out.nii", load_volume(tmp_path / "in.nii", "labels"))
    written = np.asanyarray(nib.load(tmp_path / "out.nii").dataobj)
    np.testing.assert_array_equal(written, data.astype(np.int64))
    assert written.dtype == (np.int32 if highest < 2**31 else np.int64)


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_an_offset_that_float32_would_lose_is_subtracted(tmp_path, rng, dtype):
    data = (rng.random((5, 6, 7)) * 1000).round().astype(dtype)
    np.savez(tmp_path / "far.npz", vol=data + dtype(2**40), affine=np.eye(4))
    volume = load_volume(tmp_path / "far.npz")
    np.testing.assert_array_equal(volume.data.astype(np.float64) + volume.offset, data + 2.0**40)
    np.savez(tmp_path / "near.npz", vol=data + dtype(1000), affine=np.eye(4))
    assert load_volume(tmp_path / "near.npz").offset == 0
