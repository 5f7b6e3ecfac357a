"""The interface through which a trainer obtains its pairs."""

from __future__ import annotations

from typing import Protocol

import tensorflow as tf


class PairProvider(Protocol):
    """Provides batches of pairs by training step; see `bilevelmorph.datasets.pair_dataset`.

    >>> pairs = tf.data.Dataset.from_tensor_slices({"moving": [0, 1, 2], "fixed": [3, 4, 5]})
    >>> provider = as_provider(pairs)
    >>> [(int(step), int(batch["fixed"])) for step, batch in provider.dataset(2, 5, batch_size=1)]
    [(2, 5), (3, 3), (4, 4)]
    """

    def dataset(self, start: int, stop: int, batch_size: int) -> tf.data.Dataset:
        """Return a dataset of ``(step, batch)`` for steps start..stop-1."""
        ...


class _RepeatedBatches:
    """Repeats a dataset of batches endlessly; step k uses batch k."""

    def __init__(self, batches: tf.data.Dataset) -> None:
        self.batches = batches.repeat()

    def dataset(self, start: int, stop: int, batch_size: int) -> tf.data.Dataset:
        return self.batches.skip(start).take(stop - start).enumerate(start)


def as_provider(pairs: PairProvider | tf.data.Dataset) -> PairProvider:
    """Wrap a dataset of batches as a provider; return a provider unchanged."""
    return _RepeatedBatches(pairs) if isinstance(pairs, tf.data.Dataset) else pairs
