"""A pair to tune on, with the annotations that judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from bilevelmorph.datasets.landmarks import landmark_pair
from bilevelmorph.datasets.pairs import Pair
from bilevelmorph.errors import fail
from bilevelmorph.io.volumes import load_volume
from bilevelmorph.metrics.overlap import mean_dice
from bilevelmorph.networks.deformation import Deformation
from bilevelmorph.ops.warping import warp
from bilevelmorph.registration.evaluation import labels_of
from bilevelmorph.registration.registrar import Registrar
from bilevelmorph.training.outer_objective import LabelFreeObjective, landmark_distance


@dataclass(frozen=True)
class Case:
    """A pair on its grid, the displacement to start from, and label maps or landmarks.

    Attributes:
        fixed, moving: ``[*S]``, normalised.
        start: ``[*S, N]`` voxels.
        labels: Fixed and moving label map, ``[*S]``, or None.
        points: Fixed and moving landmarks, ``[P, N]`` voxels, or None.
        values: Label values that are scored; None for all of them.

    >>> scan = np.arange(12.0)
    >>> case = Case(scan, scan, np.zeros((12, 1)), (np.arange(12) // 4, np.arange(12) // 4))
    >>> case.score(np.zeros((12, 1), np.float32)), case.score(np.full((12, 1), 4, np.float32))
    (1.0, 0.3333333333333333)
    """

    fixed: np.ndarray
    moving: np.ndarray
    start: np.ndarray
    labels: tuple[np.ndarray, np.ndarray] | None = None
    points: tuple[np.ndarray, np.ndarray] | None = None
    values: Sequence[int] | None = None

    def score(self, displacement: np.ndarray) -> float:
        """How good a displacement is; more is better.

        Mean Dice, or the negative distance of landmarks in voxels, or without either, the negative
        label-free criterion.

        Args:
            displacement: ``[*S, N]`` float32, voxels.
        """
        field = tf.constant(displacement[None])
        if self.labels is not None:
            fixed, moving = self.labels
            moved = warp(tf.constant(moving[None, ..., None], tf.float32), field, "nearest")
            return mean_dice(moved.numpy()[0, ..., 0].astype(moving.dtype), fixed, self.values)
        if self.points is not None:
            fixed, moving = (tf.constant(x[None], tf.float32) for x in self.points)
            return -float(landmark_distance(field, moving, fixed))
        images = [tf.constant(x[None, ..., None], tf.float32) for x in (self.fixed, self.moving)]
        batch = dict(zip(("fixed", "moving"), images, strict=True))
        return -float(LabelFreeObjective()(Deformation(field, [], []), batch))

    def present(self) -> list[int]:
        """The label values that are scored and occur in both label maps."""
        if self.labels is None:
            return []
        both = set(np.unique(self.labels[0]).tolist()) & set(np.unique(self.labels[1]).tolist())
        return sorted(both - {0} if self.values is None else both & set(self.values))


def open_cases(
    registrar: Registrar,
    pairs: Sequence[Pair],
    criterion: str,
    values: Sequence[int] | None = None,
    quiet: bool = False,
) -> list[Case]:
    """Align pairs, and run the model on them.

    Args:
        registrar: How pairs are registered; its own instance optimisation is not used.
        pairs: Pairs of files.
        criterion: ``"dice"``, ``"landmarks"`` or ``"label-free"``.
        values: Label values that are scored; None for all of them.
        quiet: Suppress the progress bar.

    Raises:
        InputError: A pair lacks the annotations, or its files cannot be read.
    """
    return [
        _opened(registrar, pair, criterion, values)
        for pair in tqdm(pairs, desc="pairs", leave=False, disable=quiet or None)
    ]


def _opened(registrar: Registrar, pair: Pair, criterion: str, values: Sequence[int] | None) -> Case:
    moving, fixed = (load_volume(s.image) for s in (pair.moving, pair.fixed))
    prepared, start = registrar.prepare(moving, fixed)
    images = np.asarray(prepared.fixed.data, np.float32), np.asarray(prepared.moving, np.float32)
    labels = points = None
    if criterion == "dice":
        maps = labels_of(pair.fixed, fixed), labels_of(pair.moving, moving)
        labels = prepared.labels(maps[0]), prepared.labels(maps[1], moving=True)
    if criterion == "landmarks":
        marks = landmark_pair(pair.moving, pair.fixed, (moving, fixed))
        points = prepared.points(marks[1]), prepared.points(marks[0], moving=True)
    case = Case(*images, start, labels, points, values)
    if criterion == "dice" and not case.present():
        raise fail(pair.moving.name, f"no label in common with {pair.fixed.name}", "label maps of one kind")
    return case
