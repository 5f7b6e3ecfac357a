"""The data-matching block of a stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.checks import fail, one_of
from bilevelmorph.layers.convolution import convolution, small_normal
from bilevelmorph.ops.matching import match_cost, matching_force, soft_argmin

GUIDES = ("argmin", "gradient")


@keras.saving.register_keras_serializable("bilevelmorph")
class DataMatching(keras.layers.Layer):
    """Propose a velocity from how warped moving and fixed features differ: ``u = M(...)``.

    The step is that of its guides, which come from the features by formula, plus
    a correction by convolutions, which see the features, the match cost and the
    guides.

    Args:
        ndims: 2 or 3.
        widths: Filters of the hidden convolutions; empty for the guides alone.
        radius: Shifts at which the match cost is taken, in voxels of the scale.
        guides: Of ``"argmin"``, the shift of least match cost (a soft argmin of
            learned sharpness), and ``"gradient"``, the gradient step on the squared
            distance of the features (normalised, of learned length).

    Input: ``[fixed, moved, displacement]``: features ``[B, *S, C]`` twice and
    the displacement so far ``[B, *S, N]``. Output: ``[B, *S, N]`` voxels; at the
    start nearly the sum of the guides.

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
        guides: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ndims, self.widths, self.radius = ndims, list(widths), radius
        self.guides = [one_of("guides", g, GUIDES) for g in guides]
        if "argmin" in self.guides and radius == 0:
            raise fail("radius", radius, "at least 1 for the guide argmin")
        if not self.widths and not self.guides:
            raise fail("widths", list(widths), "some filters, or a guide to do without them")
        self.hidden = [
            convolution(ndims, w, name=f"conv{i}", dtype=self.dtype_policy) for i, w in enumerate(self.widths)
        ]
        self.head = None
        if self.widths:
            self.head = convolution(
                ndims, ndims, active=False, initializer=small_normal(), name="head", dtype=self.dtype_policy
            )

    def build(self, input_shape: Any) -> None:
        fixed = tuple(input_shape[0])
        for guide, start in (("argmin", 2.0), ("gradient", 0.0)):
            if guide in self.guides:
                setattr(self, f"log_{guide}", self._scalar(f"log_{guide}", start))
        guided = len(self.guides) * self.ndims
        channels = guided + 2 * fixed[-1] + self.ndims + (2 * self.radius + 1) ** self.ndims
        shape = (*fixed[:-1], channels)
        for block in [*self.hidden, self.head]:
            if block is not None:
                block.build(shape)
                shape = block.compute_output_shape(shape)
        self.built = True

    def _scalar(self, name: str, value: float) -> Any:
        return self.add_weight(name=name, shape=(), initializer=keras.initializers.Constant(value))

    def call(self, inputs: Any) -> tf.Tensor:
        fixed, moved, displacement = inputs
        cost = match_cost(fixed, moved, self.radius)
        guides = [self._guide(g, fixed, moved, cost) for g in self.guides]
        if self.head is None:
            return tf.add_n(guides)
        x = tf.concat([cost, fixed, moved, tf.cast(displacement, fixed.dtype), *guides], -1)
        for block in self.hidden:
            x = block(x)
        return tf.add_n([self.head(x), *guides])

    def _guide(self, name: str, fixed: tf.Tensor, moved: tf.Tensor, cost: tf.Tensor) -> tf.Tensor:
        if name == "argmin":
            return soft_argmin(cost, self.radius, self.ndims, tf.exp(self.log_argmin))
        return tf.exp(self.log_gradient) * matching_force(fixed, moved)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return (*tuple(input_shape[0])[:-1], self.ndims)

    def get_config(self) -> dict[str, Any]:
        own = {"ndims": self.ndims, "widths": self.widths, "radius": self.radius, "guides": self.guides}
        return {**super().get_config(), **own}
