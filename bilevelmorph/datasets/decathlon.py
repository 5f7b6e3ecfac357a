"""Folders of the Medical Segmentation Decathlon, Learn2Reg and nnU-Net, with a dataset.json."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bilevelmorph.datasets.pairs import Pair, Subject
from bilevelmorph.errors import InputError, fail, one_of
from bilevelmorph.io.json import read_json
from bilevelmorph.io.text import is_file

# Where Learn2Reg lists pairs for training.
PAIRED = "training_paired_images"
SPLITS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class DecathlonDataset:
    """A folder with a `dataset.json` in the format of the Decathlon, Learn2Reg or nnU-Net.

    Args:
        root: Folder that holds `dataset.json`, `imagesTr`, `labelsTr`, perhaps `masksTr`, and perhaps
            `landmarksTr` or `keypointsTr`: a CSV file per scan, with the same points in the same
            order, see `bilevelmorph.datasets.landmarks.landmarks_of`. Of nnU-Net's channels, which
            are files of their own, the first is taken.
        content: The parsed `dataset.json`.

    >>> folder = DecathlonDataset(Path("scans"), {"labels": {"0": "background", "2": "tail", "1": "head"}})
    >>> folder.name, folder.labels
    ('scans', [1, 2])
    """

    root: Path
    content: dict[str, Any]

    @classmethod
    def open(cls, root: str | Path) -> DecathlonDataset:
        """Read ``root/dataset.json``, or ``root/NAME_dataset.json`` as Learn2Reg has it."""
        root = Path(root)
        path = root / "dataset.json"
        if not path.is_file():
            named = sorted(root.glob("*_dataset.json")) if root.is_dir() else []
            if len(named) != 1:
                came = f"a folder with {', '.join(p.name for p in named)}" if named else None
                came = came or "a folder without dataset.json"
                raise fail(str(root), came, "a Decathlon or Learn2Reg folder with one such file")
            path = named[0]
        content = read_json(path, "a complete file")
        if not isinstance(content, dict):
            raise fail(str(path), f"a {type(content).__name__}", "an object with training, labels, ...")
        return cls(root, content)

    @property
    def name(self) -> str:
        return str(self.content.get("name", self.root.name))

    @property
    def labels(self) -> list[int]:
        """Foreground label values in ascending order."""
        with self._parsing("labels"):
            table = self.content.get("labels", {})
            values = set()
            for key, value in table.items():
                if str(key).lstrip("-").isdigit():
                    values.add(int(key))
                elif "file_ending" not in self.content:
                    values.add(int(value))
                elif key != "ignore":  # what is not annotated; a region has several values
                    values.update(map(int, value if isinstance(value, list) else [value]))
            return sorted(values - {0})

    @property
    def label_names(self) -> dict[int, str]:
        """Names of the foreground labels, by their values.

        >>> DecathlonDataset(Path("scans"), {"labels": {"0": "background", "1": "head"}}).label_names
        {1: 'head'}
        """
        found = {}
        for key, value in self.content.get("labels", {}).items():
            name, number = (value, key) if str(key).lstrip("-").isdigit() else (key, value)
            if isinstance(number, (int, str)) and str(number).lstrip("-").isdigit() and int(number):
                found[int(number)] = str(name)
        return found

    def subjects(self, split: str) -> list[Subject]:
        """The scans of a split: ``"train"``, ``"val"`` or ``"test"``."""
        key = SPLITS[one_of("split", split, SPLITS)]
        with self._parsing(key):
            entries = self.content.get(key, [])
            if not entries and "file_ending" in self.content:
                entries = self._first_channels({"train": "Tr", "test": "Ts"}.get(split, ""))
            return [self._subject(e["image"] if isinstance(e, dict) else e) for e in entries]

    def _first_channels(self, kind: str) -> list[str]:
        """The images of nnU-Net, which dataset.json does not list."""
        ending = str(self.content["file_ending"])
        found = sorted((self.root / f"images{kind}").glob(f"*_0000{ending}")) if kind else []
        return [str(path.relative_to(self.root)) for path in found]

    def pairs(self, split: str) -> list[Pair]:
        """The registration pairs of a split; if none are given for training, scans are paired at random."""
        one_of("split", split, SPLITS)
        key = f"registration_{split}"
        with self._parsing(key):
            entries = self.content.get(key, [])
            if split == "train":
                entries = entries or self.content.get(PAIRED, [])
            if not entries and split != "train":
                raise fail(str(self.root), f"no {key} in dataset.json", "a list of pairs")
            return [Pair(self._subject(e["moving"]), self._subject(e["fixed"])) for e in entries]

    def has_pairs(self, split: str) -> bool:
        """Whether the pairs of a split are listed."""
        key = f"registration_{one_of('split', split, SPLITS)}"
        return bool(self.content.get(key) or (split == "train" and self.content.get(PAIRED)))

    @cached_property
    def _named(self) -> dict[tuple[str, Path], Path]:
        """The label maps, keypoints and masks that dataset.json names, by kind and path of the image."""
        found = {}
        for key in SPLITS.values():
            with self._parsing(key):
                for entry in self.content.get(key, []):
                    for kind in ("label", "keypoints", "mask") if isinstance(entry, dict) else ():
                        if isinstance(entry.get(kind), str):
                            file = self.root / entry[kind]
                            if not is_file(file):
                                came = f"{entry[kind]} without the file {file}"
                                raise fail(f"{self.root}/dataset.json", came, "an existing file")
                            found[kind, self._image(entry["image"]) or file] = file
        return found

    @contextmanager
    def _parsing(self, key: str) -> Iterator[None]:
        """Turn errors about a malformed dataset.json into one clear line."""
        try:
            yield
        except InputError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            where = f"{self.root / 'dataset.json'}, {key}"
            raise fail(where, "another format", "that of the Decathlon or Learn2Reg") from error

    def _image(self, entry: str) -> Path | None:
        """The image at a path relative to the folder, or of a name in imagesTr, if it is there."""
        name = entry if "." in Path(entry).name else f"{entry}.nii.gz"
        stem, dot, ending = Path(name).name.partition(".")
        first = str(Path(name).with_name(f"{stem}_0000{dot}{ending}"))  # so nnU-Net 1 names its files
        places = self.root / name, self.root / "imagesTr" / Path(name).name, self.root / first
        return next((path for path in places if is_file(path)), None)

    def _subject(self, entry: str) -> Subject:
        """The scan of an entry, with what belongs to it."""
        image = self._image(entry)
        if image is None:
            place = self.root / "imagesTr" / (Path(entry).name if "." in entry else f"{entry}.nii.gz")
            where = f"{self.root}/dataset.json"
            raise fail(where, f"{entry} without the file {place}", "an existing file")
        kind = image.parent.name.removeprefix("images") if image.parent.name.startswith("images") else "Tr"
        stem, dot, ending = image.name.partition(".")
        cases = [f"{name}{dot}{ending}" for name in (stem, stem.removesuffix("_0000"))]
        guesses = {
            "label": [self.root / f"labels{kind}" / case for case in cases],
            "keypoints": [self.root / f"{w}{kind}" / f"{stem}.csv" for w in ("landmarks", "keypoints")],
            "mask": [self.root / f"masks{kind}" / image.name],
        }
        files = []
        for what, places in guesses.items():
            named = self._named.get((what, image))
            files.append(named or next((path for path in places if is_file(path)), None))
        return Subject(image, *files)


def submission_name(pair: Pair) -> str:
    """The name of a displacement that is submitted to Learn2Reg, made of the numbers of both cases.

    Args:
        pair: Scans whose names end in a case and a modality of four digits each, or in a case alone.

    Raises:
        InputError: A name has no such number.

    >>> fixed, moving = (Subject(Path(f"NLST_0101_000{i}.nii.gz")) for i in (0, 1))
    >>> submission_name(Pair(moving, fixed))
    'disp_0101_0101.nii.gz'
    """
    cases = []
    for scan in (pair.fixed, pair.moving):
        found = re.search(r"_(\d{4})(?:_\d{4})?\.nii(?:\.gz)?$", scan.name)
        if not found:
            raise fail(scan.name, "no number of a case", "a name such as NAME_0001_0000.nii.gz")
        cases.append(found[1])
    return f"disp_{cases[0]}_{cases[1]}.nii.gz"
