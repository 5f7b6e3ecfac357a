"""Data sets: lists of scans and pairs, and their arrays for training."""

from bilevelmorph.datasets.decathlon import DecathlonDataset
from bilevelmorph.datasets.pairs import Pair, Subject

__all__ = ["DecathlonDataset", "Pair", "Subject"]
