"""What a registration network computes about a pair."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import tensorflow as tf

from bilevelmorph.ops.grid import spatial_shape
from bilevelmorph.ops.integration import integrate
from bilevelmorph.ops.resizing import resize_field
from bilevelmorph.ops.warping import compose


class Fields(NamedTuple):
    """The deformation of a pair, on the padded grid of the network.

    Attributes:
        displacement: ``[B, *S, N]`` voxels, full resolution.
        velocities: One ``[B, *S / scale, N]`` a stage, coarse to fine, each in
            voxels of its own scale; what regularity is asked of.
        displacements: The displacement after each stage, at the stage's scale.
        int_steps: Squarings; 0 where the velocities are displacements.
        extra: Other tensors that a loss may want, by name.
    """

    displacement: tf.Tensor
    velocities: list[tf.Tensor]
    displacements: list[tf.Tensor]
    int_steps: int = 7
    align: str = "centres"
    extra: Mapping[str, Any] = MappingProxyType({})

    def inverse(self) -> tf.Tensor:
        """The inverse displacement, from the negated velocities in reverse order.

        Returns:
            ``[B, *S, N]`` voxels: warping with it undoes `displacement`.
        """
        shape = spatial_shape(self.displacement)
        total = None
        for velocity in reversed(self.velocities):
            step = integrate(-velocity, self.int_steps) if self.int_steps else -velocity
            step = resize_field(step, shape, self.align)
            total = step if total is None else compose(total, step)
        return total
