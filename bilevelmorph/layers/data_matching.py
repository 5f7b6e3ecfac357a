"""The data-matching block of a stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.compat.renamed import renamed_keys
from bilevelmorph.errors import fail, one_of
from bilevelmorph.layers.convolution import convolution, small_normal
from bilevelmorph.ops.matching import cost_volume, demons_force, soft_argmin

ANALYTIC_STEPS = ("argmin", "gradient")


@keras.saving.register_keras_serializable("bilevelmorph")
class DataMatching(keras.layers.Layer):
    """Propose a velocity from warped moving and fixed features: ``u = M(...)``.

    The velocity is the sum of analytic steps, computed from the features in closed form,
    and a learned correction: convolutions of the features, the displacement, the cost
    volume and the analytic steps.

    Args:
        ndims: 2 or 3.
        widths: Filters of the hidden convolutions; if empty, only the analytic steps are used.
        radius: Search radius of the cost volume, voxels of the scale.
        analytic_steps: Any of ``"argmin"``, the shift of least cost (a soft argmin of
            learned sharpness), and ``"gradient"``, the gradient step on the squared
            distance of the features (normalised, of learned length).

    Input: ``[fixed, moved, displacement]``: features ``[B, *S, C]`` twice and
    the current displacement ``[B, *S, N]``. Output: ``[B, *S, N]`` voxels; initially
    close to the sum of the analytic steps.

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
        analytic_steps: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ndims, self.widths, self.radius = ndims, list(widths), radius
        self.analytic_steps = [one_of("analytic_steps", s, ANALYTIC_STEPS) for s in analytic_steps]
        if "argmin" in self.analytic_steps and radius == 0:
            raise fail("radius", radius, "at least 1 for the analytic step argmin")
        if not self.widths and not self.analytic_steps:
            raise fail("widths", list(widths), "some filters or at least one analytic step")
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
        for step, start in (("argmin", 2.0), ("gradient", 0.0)):
            if step in self.analytic_steps:
                setattr(self, f"log_{step}", self._scalar(f"log_{step}", start))
        analytic = len(self.analytic_steps) * self.ndims
        channels = analytic + 2 * fixed[-1] + self.ndims + (2 * self.radius + 1) ** self.ndims
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
        cost = cost_volume(fixed, moved, self.radius)
        steps = [self._analytic_step(s, fixed, moved, cost) for s in self.analytic_steps]
        if self.head is None:
            return tf.add_n(steps)
        x = tf.concat([cost, fixed, moved, tf.cast(displacement, fixed.dtype), *steps], -1)
        for block in self.hidden:
            x = block(x)
        return tf.add_n([self.head(x), *steps])

    def _analytic_step(self, name: str, fixed: tf.Tensor, moved: tf.Tensor, cost: tf.Tensor) -> tf.Tensor:
        if name == "argmin":
            return soft_argmin(cost, self.radius, self.ndims, tf.exp(self.log_argmin))
        return tf.exp(self.log_gradient) * demons_force(fixed, moved)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return (*tuple(input_shape[0])[:-1], self.ndims)

    def get_config(self) -> dict[str, Any]:
        own = {"ndims": self.ndims, "widths": self.widths, "radius": self.radius}
        return {**super().get_config(), **own, "analytic_steps": self.analytic_steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DataMatching:
        return cls(**renamed_keys(config, {"guides": "analytic_steps"}))
