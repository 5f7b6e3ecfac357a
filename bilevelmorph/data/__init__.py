"""Volumes in memory: voxels with world coordinates, resampling, preprocessing."""

from bilevelmorph.data.volume import Volume

__all__ = ["Volume"]
