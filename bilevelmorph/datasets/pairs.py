"""Pairs of scans, from lists, pair lists and CSV files."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bilevelmorph.errors import InputError, fail
from bilevelmorph.io.claims import check_numpy
from bilevelmorph.io.text import delimiter_of, is_file, parsing_csv, read_text

CSV_COLUMNS = ("moving", "fixed", "moving_seg", "fixed_seg")


@dataclass(frozen=True)
class Subject:
    """The files of one scan: its image and, perhaps, its label map, its landmarks and its mask.

    >>> Subject(Path("a/scan.nii.gz")).name
    'scan.nii.gz'
    """

    image: Path
    labels: Path | None = None
    points: Path | None = None
    mask: Path | None = None

    @property
    def name(self) -> str:
        return self.image.name


@dataclass(frozen=True)
class Pair:
    """A moving and a fixed scan.

    >>> pair = Pair(moving=Subject(Path("a.nii.gz")), fixed=Subject(Path("b.nii.gz")))
    >>> pair.fixed.name
    'b.nii.gz'
    """

    moving: Subject
    fixed: Subject


def read_list(
    path: str | Path, prefix: str = "", suffix: str = "", seg_prefix: str = "", seg_suffix: str = ""
) -> tuple[list[Subject], list[Pair]]:
    """Read VoxelMorph's list file.

    Args:
        path: Text file with one name per line (scans to pair at random) or two
            (a pair, moving first), separated by spaces, a tab or a comma. A line that is
            the name of a file as a whole is one name, whatever it contains; around a tab or a
            comma names may contain spaces. Empty lines and ``#`` comments are skipped.
        prefix, suffix: Added before and after every name.
        seg_prefix, seg_suffix: The same for the names of label maps; if both are
            empty, there are no label maps.

    Returns:
        Subjects and pairs; one of the two is empty.

    Raises:
        InputError: A line is invalid; the message names the file and the line.
    """
    path = Path(path)
    subjects: list[Subject] = []
    pairs: list[Pair] = []
    for number, line in _lines(path):
        names = _names(line, path.parent, prefix, suffix)
        if not names:
            continue
        if len(names) > 2:
            raise fail(f"{path}, line {number}", f"{len(names)} names", "one name, or two for a pair")
        where, ends = f"{path}, line {number}", [(prefix, suffix)]
        if seg_prefix or seg_suffix:
            ends.append((seg_prefix, seg_suffix))
        found = [Subject(*(_existing(a + n + b, path.parent, where) for a, b in ends)) for n in names]
        if len(found) == 1:
            subjects += found
        else:
            pairs.append(Pair(*found))
        if subjects and pairs:
            raise fail(f"{path}, line {number}", "a mixture of single names and pairs", "one kind only")
    if not subjects and not pairs:
        raise fail(str(path), "no names", "at least one")
    return subjects, pairs


def read_csv(path: str | Path) -> list[Pair]:
    """Read pairs from a CSV file with the header ``moving,fixed[,moving_seg,fixed_seg]``.

    Spreadsheets may separate the columns by semicolons or tabs, and write latin-1.

    Raises:
        InputError: A line is invalid; the message names the file and the line.
    """
    path = Path(path)
    text = read_text(path, "a list of scans")
    with parsing_csv(path), io.StringIO(text, newline="") as stream:
        reader = csv.DictReader(stream, delimiter=delimiter_of(text))
        header = [h.strip() for h in reader.fieldnames or []]
        if header[:2] != ["moving", "fixed"] or not set(header) <= set(CSV_COLUMNS):
            came = " ".join(",".join(header).split())[:120] or "nothing"
            raise fail(f"{path}, line 1", came, "moving,fixed[,moving_seg,fixed_seg]")
        reader.fieldnames = header
        pairs = []
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or any(row[c] is None for c in header):
                raise fail(where, "a different number of columns from the header", f"{len(header)} columns")
            files = {c: _existing(row[c].strip(), path.parent, where) for c in header if row[c].strip()}
            if "moving" not in files or "fixed" not in files:
                raise fail(where, "an empty name", "a moving and a fixed file")
            pairs.append(
                Pair(
                    Subject(files["moving"], files.get("moving_seg")),
                    Subject(files["fixed"], files.get("fixed_seg")),
                )
            )
    if not pairs:
        raise fail(str(path), "no pairs", "at least one line after the header")
    return pairs


def read_labels(path: str | Path) -> list[int]:
    """Read label values from a file as used by VoxelMorph: npy, npz (array ``labels``) or text.

    Raises:
        InputError: There is no such file, or the values are not whole numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise fail(str(path), "no such file", "a list of label values")
    try:
        if path.suffix in (".npy", ".npz"):
            check_numpy(path)
            content = np.load(path, allow_pickle=False)
            values = np.asarray(content if path.suffix == ".npy" else content["labels"])
        else:
            values = np.loadtxt(path)
        values = np.atleast_1d(values).ravel()
        if not len(values) or not np.isfinite(values).all() or (values != np.round(values)).any():
            raise ValueError("fractions, or nothing")
    except (ValueError, TypeError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:100]
        raise fail(str(path), f"no list of labels ({reason})", "whole numbers, as npy or text") from error
    return sorted({int(v) for v in values} - {0})


def with_labels(pairs: Sequence[Pair], what: str) -> list[Pair]:
    """Return the pairs if all have both label maps, else raise `InputError`."""
    for pair in pairs:
        for subject in (pair.moving, pair.fixed):
            if subject.labels is None:
                raise fail(what, f"no label map for {subject.image}", "labels for every scan")
    return list(pairs)


def annotated(pairs: Sequence[Pair], what: str) -> list[Pair]:
    """Return the pairs if all have both label maps, or landmarks of both, else raise `InputError`."""
    for pair in pairs:
        if pair.moving.points is None or pair.fixed.points is None:
            with_labels([pair], what)
    return list(pairs)


def _names(line: str, folder: Path, prefix: str, suffix: str) -> list[str]:
    """The names in a line, which are separated only where the line is not a name itself."""
    if any(is_file(base / f"{prefix}{line}{suffix}") for base in (Path(), folder)):
        return [line]
    line = line.split("#")[0].strip()
    for mark in "\t,":
        if mark in line:
            return [name.strip() for name in line.split(mark) if name.strip()]
    return line.split()


def _lines(path: Path) -> list[tuple[int, str]]:
    numbered = (
        (i, line.strip()) for i, line in enumerate(read_text(path, "a list of scans").splitlines(), 1)
    )
    return [(i, line) for i, line in numbered if line]


def _existing(name: str, folder: Path, where: str) -> Path:
    """The file at the given path, or at the path relative to the folder of the list."""
    for candidate in (Path(name), folder / name):
        if is_file(candidate):
            return candidate
    name = name if name.isprintable() else repr(name)
    name = name if len(name) < 300 else f"{name[:300]}..."
    raise InputError(
        f"{where}: no such file {name}; paths count from the working directory or the list's folder"
    )
