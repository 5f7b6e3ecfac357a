"""The directories of TIFF files, looked at before ITK follows them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from bilevelmorph.errors import InputError, fail

# Bytes of the types 1 to 18; there are none of 14 and 15.
_SIZES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 1, 1, 8, 8, 8), 1))
_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _SAMPLES, _FORMAT = 254, 256, 257, 258, 277, 339
_DEFAULTS: dict[int, tuple[int, ...]] = {_SUBFILE: (0,), _BITS: (1,), _SAMPLES: (1,), _FORMAT: (1,)}
_MOST_PAGES = 65_535
# Kinds of pages: reduced, one of several, mask.
_REDUCED, _KINDS = 1, 7


def check_tiff(path: Path) -> None:
    """Refuse TIFF files whose directories ITK would follow for ever, or beyond its own memory.

    It takes memory for as many pages as the first one is large, whatever the others say, and counts
    pages without looking whether it was at one before.

    Args:
        path: File to look at; what is no TIFF is left to the reader.

    Raises:
        InputError: A directory lies outside the file or comes twice, or pages differ.
    """
    content = path.read_bytes()
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    version = struct.unpack_from(f"{order}H", content, 2)[0] if order and len(content) >= 8 else 0
    if version not in (42, 43):
        return
    try:
        pages = [p for p in _pages(path, content, str(order), version == 43) if not p[_SUBFILE][0] & _REDUCED]
    except struct.error as error:
        raise _broken(path, "a directory that is cut off") from error
    names = (_WIDTH, _HEIGHT, _BITS, _SAMPLES, _FORMAT)
    if len({tuple(page[name] for name in names) for page in pages}) > 1:
        raise _broken(path, "pages of different sizes or kinds")


def _pages(path: Path, content: bytes, order: str, big: bool) -> Iterator[dict[int, tuple[int, ...]]]:
    """The numbers in each directory, by tag."""
    offset, count, step = ("Q", "Q", 20) if big else ("I", "H", 12)
    at, seen = struct.unpack_from(order + offset, content, 8 if big else 4)[0], set[int]()
    while at:
        if at in seen or len(seen) == _MOST_PAGES:
            raise _broken(path, "a directory that comes twice, or too many of them")
        seen.add(at)
        number = struct.unpack_from(order + count, content, at)[0]
        first = at + struct.calcsize(count)
        end = first + step * number
        if not number or end > len(content):
            raise _broken(path, f"a directory of {number} entries")
        page = dict(_DEFAULTS)
        for entry in range(first, end, step):
            tag, value = _entry(path, content, order, entry, big)
            if value:
                page[tag] = value
        if not all(page.get(name, (0,))[0] > 0 for name in (_WIDTH, _HEIGHT, _SAMPLES)):
            raise _broken(path, "a page without width and height")
        if page[_SUBFILE][0] > _KINDS or len({*page[_BITS]}) > 1 or not 0 < page[_BITS][0] <= 64:
            raise _broken(path, "a page of an unknown kind")
        yield page
        at = struct.unpack_from(order + offset, content, end)[0]


def _entry(path: Path, content: bytes, order: str, at: int, big: bool) -> tuple[int, tuple[int, ...]]:
    """Tag and whole numbers of an entry; none where they are of another type."""
    tag, form, count = struct.unpack_from(order + ("HHQ" if big else "HHI"), content, at)
    length, room = _SIZES.get(form, 1) * count, 8 if big else 4
    place = at + (12 if big else 8)
    if length > room:
        place = struct.unpack_from(order + ("Q" if big else "I"), content, place)[0]
    if place + length > len(content):
        raise _broken(path, f"an entry {tag} of {length} bytes")
    if form not in _WHOLE:
        return tag, ()
    return tag, struct.unpack_from(f"{order}{count}{_WHOLE[form]}", content, place)


def _broken(path: Path, came: str) -> InputError:
    return fail(str(path), came, "a whole TIFF file whose pages are alike")
