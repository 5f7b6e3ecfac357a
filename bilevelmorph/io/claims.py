"""Sizes that files claim, compared with what they can hold, before memory is taken for them."""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bilevelmorph.errors import fail

# Deflate does not make data smaller than this.
PACKED = 1032
LIMIT = "BILEVELMORPH_MAX_GB"
# The parser of NRRD in ITK overruns its own buffer when it complains about a longer line.
_NRRD_LINE = 256
_META_DIMENSIONS = 10
_LONG_FORMS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_SHORT_FORMS = (
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN"),
    *(b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
)
_ITEMS, _PIXELS, _UNDEFINED = 0xFFFE, (0x7FE0, 0x0010), 0xFFFFFFFF


def check_claim(path: str | Path, claimed: int, stored: int, packing: int = 1, what: str = "data") -> None:
    """Refuse data that cannot be in a file, or that are more than the limit.

    Args:
        path: The file, for the message.
        claimed: Bytes of data according to its header.
        stored: Bytes that the file has for them.
        packing: Largest factor by which compression may have made them smaller.
        what: What the data are, for the message.

    Raises:
        InputError: The claim is too large. The limit of 16 GB for one array is raised with the
            environment variable `BILEVELMORPH_MAX_GB`.

    >>> check_claim("scan.nii", claimed=4000, stored=4096)
    """
    if claimed > stored * packing:
        came = f"a header of {claimed} bytes of {what} in a file of {stored}"
        raise fail(str(path), came, "a whole file")
    limit = _limit()
    if claimed > limit * 2**30:
        came = f"{claimed / 2**30:.1f} GB of {what}"
        raise fail(str(path), came, f"at most {limit:g} GB", f"set {LIMIT} to more if it is right")


def _limit() -> float:
    text = os.environ.get(LIMIT, "16")
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not limit > 0:
        raise fail(LIMIT, repr(text), "a number above 0")
    return limit


def check_numpy(path: Path) -> None:
    """Compare the headers of an npy file, or of all arrays in an npz file, with what follows them."""
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            check_claim(path, _array_bytes(stream), path.stat().st_size)
        return
    whole = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            where = f"{path}, {member.filename}"
            check_claim(where, member.file_size, min(member.compress_size, whole), PACKED)
            with archive.open(member) as stream:
                check_claim(where, _array_bytes(stream), member.file_size)


def _array_bytes(stream: Any) -> int:
    """Bytes of data that the header of an array claims; 0 if it is none, which reading will notice."""
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0
        shape, _, dtype = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(stream)
    except ValueError:
        return 0
    return math.prod(shape) * dtype.itemsize


def check_text_header(path: Path) -> None:
    """Refuse NRRD headers with lines that no program writes."""
    with path.open("rb") as stream:
        for line in iter(lambda: stream.readline(1 << 20), b""):
            if not line.strip():
                return
            if len(line) > _NRRD_LINE and (b":=" not in line or line.startswith(b"#")):
                came = f"a header with a line of {len(line)} bytes"
                raise fail(str(path), came, f"lines of at most {_NRRD_LINE}")


def check_meta_header(path: Path) -> None:
    """Refuse MetaImage headers with a number of dimensions at which ITK overruns its arrays."""
    with path.open("rb") as stream:
        for line in iter(lambda: stream.readline(1 << 16), b""):
            key, equals, value = (part.strip() for part in line.partition(b"="))
            if key == b"NDims" and not (value.isdigit() and 0 < int(value[:9]) <= _META_DIMENSIONS):
                came = f"NDims = {value[:20].decode('latin-1')!r}"
                raise fail(str(path), came, f"a number up to {_META_DIMENSIONS}")
            if key == b"ElementDataFile" or not equals:
                return


def check_mat(path: Path) -> None:
    """Compare the sizes of the matrices in a file of MATLAB 4, one of ITK's forms of a transform."""
    content, at = path.read_bytes(), 0
    while at + 20 <= len(content):
        kind, rows, columns, imaginary, letters = struct.unpack_from("<5i", content, at)
        if min(rows, columns, letters) < 0 or imaginary not in (0, 1):
            raise fail(str(path), "a matrix of impossible size", "a whole file")
        size = {0: 8, 1: 4, 2: 4, 3: 2, 4: 2, 5: 1}.get(kind // 10 % 10, 8)
        claimed = rows * columns * size * (1 + imaginary)
        at += 20 + letters
        check_claim(path, claimed, len(content) - at, what="a matrix")
        at += claimed


def check_dicom(path: Path) -> None:
    """Refuse DICOM files with an element that claims more bytes than are left of the file."""
    content = path.read_bytes()
    if content[128:132] != b"DICM":
        return
    if content[132:134] != b"\x02\0":
        raise fail(str(path), "no file meta information", "a file that follows the standard")
    for tag, form, at, length in _elements(content):
        if form not in _SHORT_FORMS and form not in _LONG_FORMS:
            came = f"an element ({tag[0]:04x},{tag[1]:04x}) of an unknown kind"
            raise fail(str(path), came, "a file that follows the standard")
        if length > len(content) - at:
            came = f"an element ({tag[0]:04x},{tag[1]:04x}) of {length} bytes with {len(content) - at} left"
            raise fail(str(path), came, "a whole file")


def _elements(content: bytes) -> Iterator[tuple[tuple[int, int], bytes, int, int]]:
    """Tag, kind, position of the value and its length, of every element and item, sequences included."""
    at, order, explicit, syntax = 132, "<", True, ""
    while at + 8 <= len(content):
        group, number = struct.unpack_from(f"{order}HH", content, at)
        if syntax and group != 2 and at and order == "<":
            if syntax == "1.2.840.10008.1.2.1.99":  # deflated: what follows is compressed
                return
            explicit, order = syntax != "1.2.840.10008.1.2", ">" if syntax.endswith(".1.2.2") else "<"
            syntax = ""
            group, number = struct.unpack_from(f"{order}HH", content, at)
        form = content[at + 4 : at + 6]
        if group == _ITEMS or not explicit:
            length, value = struct.unpack_from(f"{order}I", content, at + 4)[0], at + 8
        elif form in _LONG_FORMS:
            if at + 12 > len(content):
                return
            length, value = struct.unpack_from(f"{order}I", content, at + 8)[0], at + 12
        else:
            length, value = struct.unpack_from(f"{order}H", content, at + 6)[0], at + 8
        if (group, number) == (2, 0x0010):
            syntax = content[value : value + length].decode("latin-1").strip("\0 ")
        nested = length == _UNDEFINED or (explicit and form == b"SQ") or (group, number) == (_ITEMS, 0xE000)
        form = form if explicit and group != _ITEMS else b"UN"
        yield (group, number), form, value, 0 if length == _UNDEFINED else length
        if (group, number) == _PIXELS and length == _UNDEFINED:
            return
        at = value if nested else value + length
