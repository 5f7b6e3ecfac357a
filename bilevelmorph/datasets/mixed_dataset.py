"""Training pairs from several sources, one source a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from bilevelmorph.errors import fail, positive


class _Source(Protocol):
    """What `PairDataset` and `SyntheticPairDataset` have in common."""

    shape: tuple[int, ...]
    channels: int

    def batches(self, steps: tf.data.Dataset, batch_size: int) -> tf.data.Dataset: ...


class MixedPairDataset:
    """Draws the source of each training step from the seed and the step number alone.

    Every batch holds ``moving_target`` and ``fixed_target``, the images that the objective
    compares: those of a synthetic pair are free of contrast and noise, those of scans are the
    scans themselves.

    Args:
        sources: A `PairDataset` or a `SyntheticPairDataset` of anatomies each, on the same grid.
        weights: Relative frequency of each source.
        seed: Random seed.

    Raises:
        InputError: Grids or channels differ, or no weight is positive.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from bilevelmorph.datasets.pair_dataset import PairDataset
    >>> from bilevelmorph.datasets.pairs import Subject
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     scans = [Subject(Path(folder, name)) for name in ("a.npy", "b.npy")]
    ...     for scan in scans:
    ...         np.save(scan.image, np.eye(9))
    ...     often, rarely = PairDataset(scans), PairDataset(scans)
    ...     mixed = MixedPairDataset([often, rarely], weights=[3, 1])
    >>> sum(mixed.source_of(step) for step in range(400))  # about a quarter
    98
    """

    def __init__(self, sources: Sequence[_Source], weights: Sequence[float], seed: int = 0) -> None:
        self.sources, self.seed = list(sources), seed
        for weight in weights:
            positive("weight of a source", weight, zero=True)
        if len(weights) != len(self.sources) or not any(weights):
            raise fail("weights", list(weights), f"{len(self.sources)} numbers, at least one above 0")
        self.weights = np.divide(weights, np.sum(weights))
        for name in ("shape", "channels"):
            found = {getattr(source, name) for source in self.sources}
            if len(found) > 1:
                raise fail("sources", f"{name} {', '.join(map(str, found))}", f"one {name} for all")
        self.shape, self.channels = self.sources[0].shape, self.sources[0].channels

    def source_of(self, step: int) -> int:
        """The index of the source of a step, independent of any earlier steps."""
        return int(np.random.default_rng([self.seed, step, 7]).choice(len(self.sources), p=self.weights))

    def dataset(self, start: int, stop: int, batch_size: int = 1) -> tf.data.Dataset:
        """Batches for steps start..stop-1.

        Returns:
            A dataset of ``(step, batch)``: the images ``moving`` and ``fixed`` and those that the
            objective compares, ``moving_target`` and ``fixed_target``, all ``[B, *shape, C]`` float32.
        """
        chosen = np.array([self.source_of(step) for step in range(start, stop)], np.int64)
        parts = []
        for index, source in enumerate(self.sources):
            steps = tf.data.Dataset.from_tensor_slices(start + np.flatnonzero(chosen == index))
            parts.append(source.batches(steps, batch_size).map(_with_targets))
        order = tf.data.Dataset.from_tensor_slices(chosen)
        return tf.data.Dataset.choose_from_datasets(parts, order, stop_on_empty_dataset=False)


def _with_targets(step: tf.Tensor, batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    targets = {f"{side}_target": batch.get(f"{side}_target", batch[side]) for side in ("moving", "fixed")}
    return step, {side: batch[side] for side in ("moving", "fixed")} | targets
