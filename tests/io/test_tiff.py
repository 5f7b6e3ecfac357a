"""TIFF files whose directories lead astray are refused before ITK follows them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from bilevelmorph.errors import InputError
from bilevelmorph.io.tiff import check_tiff
from bilevelmorph.io.volumes import load_volume


@pytest.fixture
def stack(tmp_path, rng):
    """Three pages of 32-bit numbers."""
    path = tmp_path / "stack.tif"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(rng.random((3, 7, 5), np.float32)), str(path))
    return path


def directories(content):
    """Where the directories of a little-endian file begin, and how many entries each has."""
    at = struct.unpack_from("<I", content, 4)[0]
    while at:
        count = struct.unpack_from("<H", content, at)[0]
        yield at, count
        at = struct.unpack_from("<I", content, at + 2 + 12 * count)[0]


def test_whole_files_pass(stack, tmp_path):
    assert load_volume(stack).shape == (5, 7, 3)
    pages = [Image.new("L", (6, 5)), Image.new("L", (6, 5))]
    for options in ({}, {"compression": "tiff_lzw"}, {"big_tiff": True}):
        pages[0].save(tmp_path / "pillow.tif", save_all=True, append_images=pages[1:], **options)
        check_tiff(tmp_path / "pillow.tif")
    Image.new("L", (6, 5)).save(tmp_path / "picture.png")
    check_tiff(tmp_path / "picture.png")  # of another kind: not its business


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda at, count: [(at + 2 + 12 * count, "<I", at)], "comes twice"),
        (lambda at, count: [(at + 2 + 12 * count, "<I", 10**6)], "cut off"),
        (lambda at, count: [(at, "<H", 0)], "0 entries"),
        (lambda at, count: [(at, "<H", 60000)], "60000 entries"),
        (lambda at, count: [(at + 14 + 8, "<I", 50)], "different sizes"),
        (lambda at, count: [(at + 14, "<H", 1)], "without width"),
        (lambda at, count: [(at + 2 + 8, "<I", 1702195828)], "unknown kind"),
        (lambda at, count: [(at + 14 + 4, "<I", 10**6)], "an entry 256 of 2000000 bytes"),
    ],
)
def test_what_leads_astray(stack, change, message):
    content = bytearray(stack.read_bytes())
    at, count = list(directories(content))[1]
    assert struct.unpack_from("<HHII", content, at + 14) == (256, 3, 1, 5)
    for place, form, value in change(at, count):
        struct.pack_into(form, content, place, value)
    stack.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_volume(stack)


def test_a_file_that_ends_early(stack):
    stack.write_bytes(stack.read_bytes()[: list(directories(stack.read_bytes()))[2][0] + 40])
    with pytest.raises(InputError, match="a directory of"):
        load_volume(stack)
