"""Folders in the format of the Medical Segmentation Decathlon and Learn2Reg, with a dataset.json."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bilevelmorph.datasets.pairs import Pair, Subject
from bilevelmorph.errors import InputError, fail, one_of
from bilevelmorph.io.json import read_json

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
        """Read ``root/dataset.json``."""
        root = Path(root)
        path = root / "dataset.json"
        if not path.is_file():
            raise fail(str(root), "a folder without dataset.json", "a Decathlon or Learn2Reg folder")
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
            if not entries and split != "train":
                raise fail(str(self.root), f"no {key} in dataset.json", "a list of pairs")
            return [Pair(self._subject(e["moving"]), self._subject(e["fixed"])) for e in entries]

    def has_pairs(self, split: str) -> bool:
        """Whether the pairs of a split are listed."""
        return bool(self.content.get(f"registration_{one_of('split', split, SPLITS)}"))

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
