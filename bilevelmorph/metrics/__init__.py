"""Measures of registration quality for NumPy arrays."""

from bilevelmorph.metrics.deformation import folding_percent, jacobian_determinant, log_jacobian_deviation
from bilevelmorph.metrics.overlap import dice, mean_dice
from bilevelmorph.metrics.similarity import local_correlation
from bilevelmorph.metrics.surface import hausdorff95, mean_hausdorff95

__all__ = [
    "dice",
    "folding_percent",
    "hausdorff95",
    "jacobian_determinant",
    "local_correlation",
    "log_jacobian_deviation",
    "mean_dice",
    "mean_hausdorff95",
]
