"""Every kind of file that cannot be used is refused with one line that names it."""

from __future__ import annotations

import gzip
import struct
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from refusals import refusal

from bilevelmorph.io.volumes import load_channels, load_volume

GOOD = np.arange(60, dtype=np.float32).reshape(3, 4, 5)


def spoilt(value):
    data = GOOD.copy()
    data[1, 2, 3] = value
    return data


def nifti(data, ending=".nii"):
    def write(folder):
        path = folder / f"bad{ending}"
        nib.save(nib.Nifti1Image(data, np.eye(4)), path)
        return path

    return write


def numpy_file(data):
    def write(folder):
        np.save(folder / "bad.npy", data)  # pickles an array of objects, which reading has to refuse
        return folder / "bad.npy"

    return write


def npz_file(**arrays):
    def write(folder):
        np.savez(folder / "bad.npz", **arrays)
        return folder / "bad.npz"

    return write


def content(name, data):
    def write(folder):
        (folder / name).write_bytes(data)
        return folder / name

    return write


def truncated(ending):
    def write(folder):
        path = nifti(np.random.default_rng(0).random((9, 9, 9)), ending)(folder)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return path

    return write


def patched_sform(values):
    """A NIfTI whose first row of the sform is overwritten."""

    def write(folder):
        path = nifti(GOOD)(folder)
        raw = bytearray(path.read_bytes())
        raw[280:296] = np.array(values, "<f4").tobytes()
        path.write_bytes(bytes(raw))
        return path

    return write


COLOUR = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
BAD = {
    "missing": lambda folder: folder / "bad.nii.gz",
    "a folder": lambda folder: (folder / "bad.nii").mkdir() or folder / "bad.nii",
    "empty": content("bad.nii.gz", b""),
    "truncated nii.gz": truncated(".nii.gz"),
    "truncated nii": truncated(".nii"),
    "text called nii": content("bad.nii", b"hello\n" * 99),
    "text called npz": content("bad.npz", b"hello\n" * 99),
    "4-D": nifti(np.random.default_rng(0).random((3, 4, 5, 2))),
    "1-D": numpy_file(np.arange(5.0)),
    "colour": nifti(COLOUR),
    "NaN": nifti(spoilt(np.nan)),
    "infinite": nifti(spoilt(np.inf), ".nii.gz"),
    "beyond float32": numpy_file(GOOD.astype(float) * 1e300),
    "constant": nifti(np.ones((3, 4, 5), np.float32)),
    "size 1 in front": nifti(GOOD.reshape(1, 12, 5)),
    "size 1 in the middle": nifti(GOOD.reshape(12, 1, 5)),
    "size 0": numpy_file(np.zeros((3, 0, 5))),
    "complex": nifti(GOOD.astype(np.complex64)),
    "strings": numpy_file(np.array([["a", "b"], ["c", "d"]])),
    "pickled npy": numpy_file(np.array([{"a": 1}, None], object)),
    "pickled npz": npz_file(vol=np.array([{"a": 1}, None], object)),
    "npz without vol": npz_file(a=GOOD, b=GOOD),
    "npz with nothing": npz_file(),
    "affine of another shape": npz_file(vol=GOOD, affine=np.eye(3)),
    "affine of strings": npz_file(vol=GOOD, affine=np.full((4, 4), "a")),
    "singular affine": npz_file(vol=GOOD, affine=np.diag([1.0, 0, 1, 1])),
    "singular sform": patched_sform([0, 0, 0, 0]),
    "NaN in the sform": patched_sform([np.nan, 0, 0, 0]),
    "unknown ending": content("bad.png", b"\x89PNG"),
    "no ending": content("bad", b"\x89PNG"),
}


@pytest.mark.parametrize("write", BAD.values(), ids=BAD)
def test_bad_image(tmp_path, write):
    path = write(tmp_path)
    assert str(path) in refusal(load_volume, path)


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_bad_labels(tmp_path, value):
    path = nifti(spoilt(value))(tmp_path)
    assert str(path) in refusal(load_volume, path, "labels")


def test_bad_channels(tmp_path):
    path = nifti(np.random.default_rng(0).random((4, 5)))(tmp_path)
    assert str(path) in refusal(load_channels, path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".hdr", ".mgz"])
def test_headers_that_claim_more_than_there_is(tmp_path, ending):
    """Refused before memory is taken: 2 GB of voxels in a file of a few kilobytes."""
    kind = {".mgz": nib.MGHImage, ".hdr": nib.Spm2AnalyzeImage}.get(ending, nib.Nifti1Image)
    path = tmp_path / f"bad{ending}"
    nib.save(kind(GOOD, np.eye(4)), path)
    opened = gzip.open if ending in (".nii.gz", ".mgz") else open
    with opened(path, "rb") as stream:
        data = bytearray(stream.read())
    if ending == ".mgz":  # three sizes, big-endian, after the version
        data[4:16] = struct.pack(">3i", 800, 800, 800)
    else:
        data[42:48] = struct.pack("<3h", 800, 800, 800)
    with opened(path, "wb") as stream:
        stream.write(data)
    tracemalloc.start()
    assert "a header of 2048000000 bytes of voxels" in refusal(load_volume, path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_what_compresses_well_is_no_false_claim(tmp_path):
    data = np.zeros((200, 200, 200), np.float32)
    data[0, 0, 0] = 1
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "empty.nii.gz")
    assert load_volume(tmp_path / "empty.nii.gz").data.sum() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({(3, 3): 0.0}, "the last row"),
        ({(3, 0): 1.0}, "the last row"),
        ({(0, 0): 1e30}, "entries above 1e+06 mm"),
        ({(0, 3): 1e7}, "entries above 1e+06 mm"),
        ({(2, 2): 0.0}, "a singular matrix"),
    ],
)
def test_affines_of_no_scanner(tmp_path, change, message):
    affine = np.eye(4)
    for place, value in change.items():
        affine[place] = value
    np.savez(tmp_path / "bad.npz", vol=GOOD, affine=affine)
    assert message in refusal(load_volume, tmp_path / "bad.npz")


def test_times_are_no_intensities(tmp_path):
    np.savez(tmp_path / "bad.npz", vol=np.zeros((4, 4, 4), "m8[s]"), affine=np.eye(4))
    assert "timedelta64[s] voxels" in refusal(load_volume, tmp_path / "bad.npz")


def test_a_limit_that_is_told_and_can_be_raised(tmp_path, monkeypatch):
    """Zeros that compress well are no false claim, but may still be more than is wanted."""
    np.savez_compressed(tmp_path / "large.npz", vol=np.zeros((200, 200, 200), np.float32))
    monkeypatch.setenv("BILEVELMORPH_MAX_GB", "0.01")
    said = refusal(load_volume, tmp_path / "large.npz")
    assert "expected at most 0.01 GB; set BILEVELMORPH_MAX_GB to more" in said
    monkeypatch.setenv("BILEVELMORPH_MAX_GB", "0.05")
    assert "a constant image" in refusal(load_volume, tmp_path / "large.npz")
    monkeypatch.setenv("BILEVELMORPH_MAX_GB", "much")
    assert "BILEVELMORPH_MAX_GB: got 'much'" in refusal(load_volume, tmp_path / "large.npz")
