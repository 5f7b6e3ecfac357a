"""The pairs of a training run, from its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bilevelmorph.checks import fail
from bilevelmorph.config import TrainingConfig
from bilevelmorph.training.validation import Validation
from bilevelmorph.volumes.dataset import PairSource
from bilevelmorph.volumes.files import holds
from bilevelmorph.volumes.pairs import (
    DatasetFolder,
    Pair,
    Subject,
    read_csv,
    read_labels,
    read_list,
    with_labels,
)


class TrainingData(NamedTuple):
    """Where a run takes its pairs from.

    Attributes:
        source: Training pairs.
        validation: Scores a network on validation pairs, where they have labels.
        upper: Validation pairs as batches, for a bilevel run.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a.npy", "b.npy"):
    ...         np.save(Path(folder, name), np.eye(9))
    ...     pairs = Path(folder, "pairs.txt")
    ...     _ = pairs.write_text("a.npy b.npy")
    ...     data = open_data(TrainingConfig(img_list=str(pairs)))
    >>> data.source.shape, data.validation
    ((16, 16), None)
    """

    source: Any
    validation: Validation | None = None
    upper: PairSource | None = None


def open_data(config: TrainingConfig) -> TrainingData:
    """The data that a configuration names.

    Raises:
        InputError: They are not there, or lack what the run needs.
    """
    if config.synthetic:
        from bilevelmorph.volumes.synthetic import SyntheticSource

        return TrainingData(SyntheticSource(config.shape or (64, 64, 64), config.seed))
    options: dict[str, Any] = {
        "shape": config.shape,
        "percentiles": config.percentiles,
        "spacing": config.spacing,
        "seed": config.seed,
        "multichannel": config.multichannel,
    }
    if config.atlas:
        options["atlas"] = _atlas(Path(config.atlas))
    if config.data:
        return _of_folder(DatasetFolder.open(config.data), config, options)
    path, values = str(config.img_list), _label_values(config)
    if path.lower().endswith(".csv"):
        subjects: list[Subject] = []
        pairs = read_csv(path)
    else:
        ends = (config.img_prefix, config.img_suffix, config.seg_prefix, config.seg_suffix)
        subjects, pairs = read_list(path, *ends)
    source = PairSource(subjects, pairs, **options, labels=values)
    if values:
        _need_labels(source.everyone)
        _check_labels(source, source.everyone, values, "training")
    return TrainingData(source)


def _atlas(path: Path) -> Subject:
    """VoxelMorph keeps the label map of an atlas in the npz of its image, as `seg`."""
    return Subject(path, path if holds(path, "seg") else None)


def _label_values(config: TrainingConfig) -> list[int]:
    """Those that soft Dice counts on scans of a list."""
    if not config.dice_weight:
        return []
    if not config.labels:
        raise fail(
            "--dice-weight", "no --labels", "--labels FILE and label maps, or --data DIR with labelsTr"
        )
    return read_labels(config.labels)


def _need_labels(subjects: list[Subject]) -> None:
    for subject in subjects:
        if subject.labels is None:
            raise fail("--dice-weight", f"no label map for {subject.image}", "labels for every scan")


def _of_folder(folder: DatasetFolder, config: TrainingConfig, options: dict[str, Any]) -> TrainingData:
    subjects, values = folder.subjects("train"), folder.labels
    supervised, scored = bool(config.dice_weight), config.bilevel and config.upper == "dice"
    if (supervised or scored) and not values:
        raise fail(str(folder.root), "no labels in dataset.json", "their values, which Dice needs")
    source = PairSource(subjects, folder.pairs("train"), **options, labels=values if supervised else ())
    if supervised:
        _need_labels(source.everyone)
        _check_labels(source, source.everyone, values, "training")
    pairs = folder.pairs("val")[: config.val_pairs] if config.val_pairs else []
    if not pairs:
        if config.bilevel:
            raise fail("--bilevel", "no validation pairs", "--val-pairs above 0")
        return TrainingData(source)
    shown = [s for pair in pairs for s in (pair.moving, pair.fixed)]
    upper = None
    if config.bilevel:
        options = {**options, "shape": source.shape, "atlas": None}
        marked = config.upper == "landmarks"
        upper = PairSource(pairs=pairs, **options, labels=values if scored else (), points=marked)
        if scored:
            with_labels(pairs, "validation")
            _check_labels(upper, shown, values, "validation")
        if marked:
            _check_points(upper, pairs)
    validation = None
    if any(s.labels is not None for s in shown):
        validation = Validation(source, with_labels(pairs, "validation"), values or None)
    return TrainingData(source, validation, upper)


def _check_points(source: PairSource, pairs: list[Pair]) -> None:
    """The landmarks of a pair belong together line by line."""
    for pair in pairs:
        counts = [len(source.points(s)) for s in (pair.moving, pair.fixed)]
        if counts[0] != counts[1]:
            came = f"{counts[0]} landmarks, and {counts[1]} of {pair.fixed.name}"
            raise fail(pair.moving.name, came, "the same points in the same order")


def _check_labels(source: PairSource, subjects: list[Subject], values: list[int], what: str) -> None:
    """Every label of the objective has to occur in the scans that it is taken on."""
    found: set[int] = set()
    for subject in subjects:
        found |= set(np.unique(source.labels(subject)).tolist())
    missing = [v for v in values if v not in found]
    if missing:
        raise fail(f"{what} labels", f"no voxel of label {missing[0]}", "every label of dataset.json")
