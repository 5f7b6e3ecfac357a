"""Opens the pairs of a training run from its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bilevelmorph.config import ScanConfig, TrainingConfig
from bilevelmorph.datasets.decathlon import DecathlonDataset
from bilevelmorph.datasets.pair_dataset import PairDataset
from bilevelmorph.datasets.pairs import Pair, Subject, read_csv, read_labels, read_list, with_labels
from bilevelmorph.errors import argument, fail
from bilevelmorph.io.volumes import add_reader, holds
from bilevelmorph.registry import OUTER_OBJECTIVES
from bilevelmorph.training.mix import open_mix
from bilevelmorph.training.validation import Score, Validation


class TrainingData(NamedTuple):
    """The data of a run.

    Attributes:
        pairs: Training pairs.
        validation: Scoring on validation pairs, if they have labels.
        outer_pairs: Validation pairs as batches, for a bilevel run.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a.npy", "b.npy"):
    ...         np.save(Path(folder, name), np.eye(9))
    ...     pairs = Path(folder, "pairs.txt")
    ...     _ = pairs.write_text("a.npy b.npy")
    ...     data = open_data(TrainingConfig.of(img_list=str(pairs)))
    >>> data.pairs.shape, data.validation
    ((16, 16), None)
    """

    pairs: Any
    validation: Score | None = None
    outer_pairs: PairDataset | None = None


def open_data(config: TrainingConfig) -> TrainingData:
    """Open the data of a configuration.

    Raises:
        InputError: Data are missing, or lack annotations that the run needs.
    """
    add_reader(config.scans.reader)
    if config.scans.synthetic:
        from bilevelmorph.datasets.synthetic import SyntheticPairDataset

        return TrainingData(
            SyntheticPairDataset(config.preprocessing.shape or (64, 64, 64), config.device.seed)
        )
    if config.scans.mix:
        return TrainingData(*open_mix(config))
    options: dict[str, Any] = {
        "shape": config.preprocessing.shape,
        "percentiles": config.preprocessing.percentiles,
        "spacing": config.preprocessing.spacing,
        "seed": config.device.seed,
        "multichannel": config.scans.multichannel,
    }
    if config.scans.atlas:
        options["atlas"] = _atlas(Path(config.scans.atlas))
    if config.scans.folder:
        return _of_folder(DecathlonDataset.open(config.scans.folder), config, options)
    path, values = str(config.scans.img_list), _label_values(config)
    if path.lower().endswith(".csv"):
        subjects: list[Subject] = []
        pairs = read_csv(path)
    else:
        ends = _affixes(config.scans)
        subjects, pairs = read_list(path, *ends)
    source = PairDataset(subjects, pairs, **options, labels=values)
    if values:
        _need_labels(source.everyone)
        _check_labels(source, source.everyone, values, "training")
    return TrainingData(source)


def _atlas(path: Path) -> Subject:
    """The atlas as a subject; VoxelMorph stores its label map as `seg` in the npz of the image."""
    return Subject(path, path if holds(path, "seg") else None)


def _affixes(scans: ScanConfig) -> tuple[str, str, str, str]:
    return scans.img_prefix, scans.img_suffix, scans.seg_prefix, scans.seg_suffix


def _label_values(config: TrainingConfig) -> list[int]:
    """The label values of soft Dice for scans given as a list."""
    if not config.extra_terms.dice_weight:
        return []
    if not config.scans.labels:
        raise fail(
            "dice_weight",
            "no label values",
            f"{argument('labels')} and label maps, or {argument('data')} with labelsTr",
        )
    return read_labels(config.scans.labels)


def _need_labels(subjects: list[Subject]) -> None:
    for subject in subjects:
        if subject.labels is None:
            raise fail("dice_weight", f"no label map for {subject.image}", "labels for every scan")


def _of_folder(folder: DecathlonDataset, config: TrainingConfig, options: dict[str, Any]) -> TrainingData:
    subjects, values = folder.subjects("train"), folder.labels
    supervised, needs = bool(config.extra_terms.dice_weight), _needs(config)
    scored = "moving_labels" in needs
    if (supervised or scored) and not values:
        raise fail(str(folder.root), "no labels in dataset.json", "label values, which Dice needs")
    source = PairDataset(subjects, folder.pairs("train"), **options, labels=values if supervised else ())
    if supervised:
        _need_labels(source.everyone)
        _check_labels(source, source.everyone, values, "training")
    pairs = folder.pairs("val")[: config.validation.val_pairs] if config.validation.val_pairs else []
    if not pairs:
        if config.bilevel.enabled:
            raise fail("bilevel", "no validation pairs", f"{argument('val_pairs')} above 0")
        return TrainingData(source)
    shown = [s for pair in pairs for s in (pair.moving, pair.fixed)]
    outer = None
    if config.bilevel.enabled:
        options = {**options, "shape": source.shape, "atlas": None}
        marked = "moving_points" in needs
        outer = PairDataset(pairs=pairs, **options, labels=values if scored else (), points=marked)
        if scored:
            with_labels(pairs, "validation")
            _check_labels(outer, shown, values, "validation")
        if marked:
            _check_points(outer, pairs)
    validation = None
    if any(s.labels is not None for s in shown):
        validation = Validation(source, with_labels(pairs, "validation"), values or None)
    return TrainingData(source, validation, outer)


def _needs(config: TrainingConfig) -> tuple[str, ...]:
    """The annotations that the outer objective needs besides the images."""
    if not config.bilevel.enabled:
        return ()
    return tuple(OUTER_OBJECTIVES.find(config.bilevel.outer_loss).needs)


def _check_points(source: PairDataset, pairs: list[Pair]) -> None:
    """Reject pairs whose numbers of landmarks differ."""
    for pair in pairs:
        counts = [len(source.points(s)) for s in (pair.moving, pair.fixed)]
        if counts[0] != counts[1]:
            came = f"{counts[0]} landmarks, and {counts[1]} of {pair.fixed.name}"
            raise fail(pair.moving.name, came, "the same points in the same order")


def _check_labels(source: PairDataset, subjects: list[Subject], values: list[int], what: str) -> None:
    """Reject labels of the objective that occur in none of the scans."""
    found: set[int] = set()
    for subject in subjects:
        found |= set(np.unique(source.labels(subject)).tolist())
    missing = [v for v in values if v not in found]
    if missing:
        raise fail(f"{what} labels", f"no voxel of label {missing[0]}", "every label of dataset.json")
