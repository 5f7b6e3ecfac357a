"""Volumes in memory: voxels with their place in the world, resampling, preprocessing."""

from bilevelmorph.data.volume import Volume

__all__ = ["Volume"]
