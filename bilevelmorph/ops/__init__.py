"""Pure tensor functions; no Keras, no files."""

from bilevelmorph.ops.derivatives import difference, gradient, jacobian_determinant
from bilevelmorph.ops.descent import DescentState, descend, unfold
from bilevelmorph.ops.grid import coordinates, crop, pad_to_multiple, spatial_shape
from bilevelmorph.ops.integration import integrate
from bilevelmorph.ops.inversion import invert
from bilevelmorph.ops.local_correlation import correlation_with
from bilevelmorph.ops.pair_objective import PairObjective
from bilevelmorph.ops.resizing import average_pool, resize, resize_field, shrink
from bilevelmorph.ops.warping import affine_displacement, compose, warp, warp_derivative
from bilevelmorph.ops.windows import gaussian_smooth, window_sum

__all__ = [
    "DescentState",
    "PairObjective",
    "affine_displacement",
    "average_pool",
    "compose",
    "coordinates",
    "correlation_with",
    "crop",
    "descend",
    "difference",
    "gaussian_smooth",
    "gradient",
    "integrate",
    "invert",
    "jacobian_determinant",
    "pad_to_multiple",
    "resize",
    "resize_field",
    "shrink",
    "spatial_shape",
    "unfold",
    "warp",
    "warp_derivative",
    "window_sum",
]
