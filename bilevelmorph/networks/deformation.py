"""The output of a registration network for a pair of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from bilevelmorph.ops.grid import spatial_shape
from bilevelmorph.ops.integration import integrate
from bilevelmorph.ops.resizing import resize_field, upsample_field
from bilevelmorph.ops.warping import compose


class Deformation(NamedTuple):
    """The deformation of a pair, on the padded grid of the network.

    Attributes:
        displacement: ``[B, *S, N]`` voxels, full resolution.
        velocities: One ``[B, *S / scale, N]`` per stage, coarse to fine, each in
            voxels of its own scale; the regulariser acts on them.
        displacements: The displacement after each stage, at the stage's scale.
        int_steps: Number of squarings; 0 if the velocities are displacements.
        align: Grid alignment for resizing fields; see `bilevelmorph.ops.resize`.
        extra: Other tensors that a loss may use, by name.

    >>> deformation = Deformation.of_velocities([tf.ones([1, 2, 2, 2])], [4, 4])
    >>> deformation.displacement[0, 0, 0].numpy().tolist(), deformation.inverse()[0, 0, 0].numpy().tolist()
    ([2.0, 2.0], [-2.0, -2.0])
    """

    displacement: tf.Tensor
    velocities: list[tf.Tensor]
    displacements: list[tf.Tensor]
    int_steps: int = 7
    align: str = "centres"
    # A plain dictionary, which TensorFlow can return from a graph; it is never modified.
    extra: Mapping[str, Any] = {}

    @classmethod
    def of_velocities(
        cls, velocities: Sequence[tf.Tensor], shape: Sequence[int], int_steps: int = 7, align: str = "centres"
    ) -> Deformation:
        """Build the deformation that results from a sequence of velocities.

        Args:
            velocities: ``[B, *S / scale, N]``, coarse to fine; several at one
                scale form one stage.
            shape: Spatial sizes S of the full grid.
            int_steps, align: As in `Deformation`.

        >>> Deformation.of_velocities([tf.ones([1, 2, 2, 2])], [4, 4]).displacement[0, 0, 0].numpy().tolist()
        [2.0, 2.0]
        """
        displacement: Any = None
        stages: list[Any] = []
        for velocity in velocities:
            step = integrate(velocity, int_steps) if int_steps else velocity
            size = spatial_shape(velocity)
            if displacement is None:
                displacement = step
            elif spatial_shape(displacement) == size:
                displacement = compose(displacement, step)
                stages.pop()
            else:
                displacement = compose(_enlarged(displacement, size, align), step)
            stages.append(displacement)
        full = _enlarged(displacement, list(shape), align)
        return cls(full, list(velocities), stages, int_steps, align)

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


def _enlarged(field: tf.Tensor, shape: list[int], align: str) -> tf.Tensor:
    """Resize a field to a finer grid with the network's alignment."""
    factor = shape[0] // spatial_shape(field)[0]
    whole = [factor * n for n in spatial_shape(field)] == list(shape) and factor & (factor - 1) == 0
    return (
        upsample_field(field, factor) if align == "centres" and whole else resize_field(field, shape, align)
    )
