"""Reading and writing of files: volumes, warps, points, ITK transforms, JSON and CSV."""

from bilevelmorph.io.points import read_points
from bilevelmorph.io.volumes import load_volume, save_volume
from bilevelmorph.io.warps import load_warp, save_warp

__all__ = ["load_volume", "load_warp", "read_points", "save_volume", "save_warp"]
