"""The data-matching block of a stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.checks import fail
from bilevelmorph.layers.convolution import convolution, small_normal
from bilevelmorph.ops.matching import match_cost, soft_argmin


@keras.saving.register_keras_serializable("bilevelmorph")
class DataMatching(keras.layers.Layer):
    """Propose a velocity from how warped moving and fixed features differ: ``u = M(...)``.

    Args:
        ndims: 2 or 3.
        widths: Filters of the hidden convolutions.
        radius: Shifts at which the match cost is taken, in voxels of the scale.
        explicit: Start from the shift of least cost (a soft argmin of learned
            sharpness), which the convolutions then correct.

    Input: ``[fixed, moved, displacement]``: features ``[B, *S, C]`` twice and
    the displacement so far ``[B, *S, N]``. Output: ``[B, *S, N]`` voxels; at the
    start near zero, or near the shift of least cost.

    Reference: Liu et al., TPAMI 2021.

    >>> f, u = tf.ones([1, 8, 8, 4]), tf.zeros([1, 8, 8, 2])
    >>> DataMatching(2, [8])([f, f, u]).shape.as_list()
    [1, 8, 8, 2]
    """

    def __init__(
        self,
        ndims: int,
        widths: Sequence[int] = (48, 32, 16),
        radius: int = 0,
        explicit: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ndims, self.widths, self.radius, self.explicit = ndims, list(widths), radius, explicit
        if explicit and radius == 0:
            raise fail("radius", radius, "at least 1 for an explicit data step")
        self.hidden = [
            convolution(ndims, w, name=f"conv{i}", dtype=self.dtype_policy) for i, w in enumerate(self.widths)
        ]
        self.head = convolution(
            ndims, ndims, active=False, initializer=small_normal(), name="head", dtype=self.dtype_policy
        )

    def build(self, input_shape: Any) -> None:
        fixed = tuple(input_shape[0])
        if self.explicit:
            self.log_sharpness = self.add_weight(
                name="log_sharpness", shape=(), initializer=keras.initializers.Constant(2.0)
            )
        channels = (
            self.explicit * self.ndims + 2 * fixed[-1] + self.ndims + (2 * self.radius + 1) ** self.ndims
        )
        shape = (*fixed[:-1], channels)
        for block in [*self.hidden, self.head]:
            block.build(shape)
            shape = block.compute_output_shape(shape)
        self.built = True

    def call(self, inputs: Any) -> tf.Tensor:
        fixed, moved, displacement = inputs
        cost = match_cost(fixed, moved, self.radius)
        seen = [cost, fixed, moved, tf.cast(displacement, fixed.dtype)]
        if self.explicit:
            least = soft_argmin(cost, self.radius, self.ndims, tf.exp(self.log_sharpness))
            seen.append(least)
        x = tf.concat(seen, -1)
        for block in self.hidden:
            x = block(x)
        return self.head(x) + least if self.explicit else self.head(x)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return (*tuple(input_shape[0])[:-1], self.ndims)

    def get_config(self) -> dict[str, Any]:
        own = {"ndims": self.ndims, "widths": self.widths, "radius": self.radius, "explicit": self.explicit}
        return {**super().get_config(), **own}
