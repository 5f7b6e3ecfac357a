"""Folders in the format of the Medical Segmentation Decathlon and Learn2Reg, with a dataset.json."""

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

# Where Learn2Reg lists pairs for training.
PAIRED = "training_paired_images"
SPLITS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class DecathlonDataset:
    """A folder with a `dataset.json` in the format of the Decathlon and Learn2Reg.

    Args:
        root: Folder that holds `dataset.json`, `imagesTr`, `labelsTr` and perhaps
            `landmarksTr` (one CSV file with the header ``x,y,z`` per scan, in
            millimetres, with the same points in the same order).
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
            values = [int(k) if str(k).lstrip("-").isdigit() else int(v) for k, v in table.items()]
            return sorted(v for v in values if v != 0)

    def subjects(self, split: str) -> list[Subject]:
        """The scans of a split: ``"train"``, ``"val"`` or ``"test"``."""
        key = SPLITS[one_of("split", split, SPLITS)]
        with self._parsing(key):
            entries = self.content.get(key, [])
            return [self._subject(e["image"] if isinstance(e, dict) else e) for e in entries]

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
    def _named_labels(self) -> dict[Path, Path]:
        """The label maps that dataset.json names, by the paths of their images."""
        found = {}
        for key in SPLITS.values():
            with self._parsing(key):
                for entry in self.content.get(key, []):
                    if isinstance(entry, dict) and isinstance(entry.get("label"), str):
                        labels = self.root / entry["label"]
                        if not labels.is_file():
                            came = f"{entry['label']} without the file {labels}"
                            raise fail(f"{self.root}/dataset.json", came, "an existing file")
                        found[self.root / entry["image"]] = labels
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

    def _subject(self, entry: str) -> Subject:
        """The scan at a path relative to the folder, or of a name in imagesTr, with labels and landmarks."""
        name = entry if "." in Path(entry).name else f"{entry}.nii.gz"
        places = self.root / name, self.root / "imagesTr" / Path(name).name
        image = next((path for path in places if path.is_file()), None)
        if image is None:
            where = f"{self.root}/dataset.json"
            raise fail(where, f"{entry} without the file {places[-1]}", "an existing file")
        kind = image.parent.name.removeprefix("images") if image.parent.name.startswith("images") else "Tr"
        labels = self._named_labels.get(image) or self.root / f"labels{kind}" / image.name
        points = self.root / f"landmarks{kind}" / (image.name.split(".")[0] + ".csv")
        return Subject(image, *(path if path.is_file() else None for path in (labels, points)))


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
