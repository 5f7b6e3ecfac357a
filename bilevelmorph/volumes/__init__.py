"""Scans: files, geometry, preprocessing, pairs."""

from bilevelmorph.volumes.files import load_volume, save_volume
from bilevelmorph.volumes.pairs import DatasetFolder, Pair, Subject
from bilevelmorph.volumes.volume import Volume

__all__ = ["DatasetFolder", "Pair", "Subject", "Volume", "load_volume", "save_volume"]
