"""Dice on held-out pairs during training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bilevelmorph.datasets.pair_dataset import PairDataset
from bilevelmorph.datasets.pairs import Pair
from bilevelmorph.metrics.deformation import folding_percent
from bilevelmorph.metrics.overlap import mean_dice
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.ops.warping import warp

# Scores a network; the values go to the log by their names, and `val_dice` decides which is the best.
Score = Callable[[RegistrationNetwork], dict[str, float]]


class Validation:
    """Registers a fixed list of pairs with label maps and scores the results.

    Args:
        source: Dataset that prepares the scans as in training.
        pairs: Pairs with label maps.
        labels: Foreground values; those of each pair by default.

    >>> import tempfile
    >>> from bilevelmorph.networks import IdentityNetwork
    >>> from bilevelmorph.datasets.pairs import Subject
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     scan = Subject(Path(folder, "scan.npy"), Path(folder, "labels.npy"))
    ...     for file in (scan.image, scan.labels):
    ...         np.save(file, np.eye(16, dtype=np.uint8))
    ...     pairs = [Pair(scan, scan)]
    ...     Validation(PairDataset(pairs=pairs), pairs, [1])(IdentityNetwork(2))
    {'val_dice': 1.0, 'val_folding': 0.0}
    """

    def __init__(self, source: PairDataset, pairs: Sequence[Pair], labels: Sequence[int] | None) -> None:
        self.source, self.pairs, self.labels = source, list(pairs), labels
        self._network: RegistrationNetwork | None = None
        self._predict: Any = None

    def __call__(self, network: RegistrationNetwork) -> dict[str, float]:
        """Compute mean Dice (labels warped with nearest neighbour) and mean folding in percent."""
        if network is not self._network:  # a graph for every call would never be freed
            self._network = network
            self._predict = tf.function(lambda m, f: network([m, f], training=False)["displacement"])
            # Where every trial of a search has a network of its own, TensorFlow would warn of retracing.
            self._predict._omit_frequent_tracing_warning = True
        scores, folds = [], []
        for pair in self.pairs:
            moving, fixed = (tf.constant(self.source.image(s)[None]) for s in (pair.moving, pair.fixed))
            displacement = self._predict(moving, fixed)
            moved = warp(tf.constant(self.source.labels(pair.moving)[None]), displacement, "nearest")
            target = self.source.labels(pair.fixed)[..., 0]
            scores.append(mean_dice(moved.numpy()[0, ..., 0], target, self.labels))
            folds.append(folding_percent(displacement.numpy()[0]))
        return {"val_dice": float(np.nanmean(scores)), "val_folding": float(np.mean(folds))}
