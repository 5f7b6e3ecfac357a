"""Pure tensor functions; no Keras, no files."""

from bilevelmorph.ops.derivatives import difference, gradient, jacobian_determinant
from bilevelmorph.ops.grid import coordinates, crop, pad_to_multiple, spatial_shape
from bilevelmorph.ops.integration import integrate
from bilevelmorph.ops.resizing import average_pool, resize, resize_field
from bilevelmorph.ops.warping import affine_displacement, compose, warp
from bilevelmorph.ops.windows import window_sum

__all__ = [
    "affine_displacement",
    "average_pool",
    "compose",
    "coordinates",
    "crop",
    "difference",
    "gradient",
    "integrate",
    "jacobian_determinant",
    "pad_to_multiple",
    "resize",
    "resize_field",
    "spatial_shape",
    "warp",
    "window_sum",
]
