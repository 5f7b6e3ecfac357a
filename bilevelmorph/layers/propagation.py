"""One stage of optimisation learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.compat.renamed import renamed_keys
from bilevelmorph.errors import positive
from bilevelmorph.layers.data_matching import DataMatching
from bilevelmorph.layers.regularization import Regularization
from bilevelmorph.ops.grid import as_field, field_dtype
from bilevelmorph.ops.integration import integrate
from bilevelmorph.ops.warping import compose, warp


@keras.saving.register_keras_serializable("bilevelmorph")
class Propagation(keras.layers.Layer):
    """Match, regularise, integrate and compose at one scale, once or several times.

    Args:
        ndims: 2 or 3.
        matching, radius, analytic_steps: See `DataMatching`; `matching` is its `widths`.
        regularization: Filters of `Regularization` (dilations 1, 2, 4, ...);
            empty omits the block.
        int_steps: Number of squarings; 0 composes displacements without integration.
        steps: Iterations of the stage.
        shared: Whether the iterations share one set of weights.

    Input: ``[fixed, moving, displacement]``: features ``[B, *S, C]`` twice and
    the current displacement ``[B, *S, N]``, voxels. Output: list of the
    displacement after the stage and the `steps` velocities that lead to it, each
    ``[B, *S, N]`` float32.

    Reference: Liu et al., TPAMI 2021.

    >>> f, u = tf.ones([1, 8, 8, 4]), tf.zeros([1, 8, 8, 2])
    >>> displacement, *velocities = Propagation(2, [8], [8], steps=2)([f, f, u])
    >>> displacement.shape.as_list(), len(velocities)
    ([1, 8, 8, 2], 2)
    """

    def __init__(
        self,
        ndims: int,
        matching: Sequence[int] = (48, 32, 16),
        regularization: Sequence[int] = (48, 48, 32),
        radius: int = 0,
        analytic_steps: Sequence[str] = (),
        int_steps: int = 7,
        steps: int = 1,
        shared: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ndims, self.int_steps, self.shared = ndims, int_steps, shared
        self.steps = int(positive("steps", steps, whole=True))
        self.widths = [list(matching), list(regularization)]
        self.radius, self.analytic_steps = radius, list(analytic_steps)
        blocks = 1 if shared else self.steps
        policy = self.dtype_policy
        self.matching = [
            DataMatching(ndims, matching, radius, analytic_steps, name=f"matching{i}", dtype=policy)
            for i in range(blocks)
        ]
        dilations = [2**i for i in range(len(regularization))]
        self.regularization = [
            Regularization(ndims, regularization, dilations, name=f"regularization{i}", dtype=policy)
            for i in range(blocks if regularization else 0)
        ]

    def build(self, input_shape: Any) -> None:
        feature = tuple(input_shape[0])
        field = (*feature[:-1], self.ndims)
        for block in self.matching:
            block.build([feature, feature, field])
        for block in self.regularization:
            block.build(field)
        self.built = True

    def call(self, inputs: Any) -> list[tf.Tensor]:
        fixed, moving, displacement = inputs
        displacement = as_field(displacement)
        velocities = []
        for step in range(self.steps):
            velocity = self._velocity(step, fixed, moving, displacement)
            velocities.append(velocity)
            displacement = self.advance(displacement, velocity, self.int_steps)
        return [displacement, *velocities]

    def _velocity(self, step: int, fixed: tf.Tensor, moving: tf.Tensor, displacement: tf.Tensor) -> tf.Tensor:
        """The velocity of one iteration, float32 regardless of the dtype of the features."""
        block = 0 if self.shared else step
        velocity = self.matching[block]([fixed, warp(moving, displacement), displacement])
        if self.regularization:
            velocity = self.regularization[block](velocity)
        return as_field(velocity)

    @staticmethod
    def advance(displacement: tf.Tensor, velocity: tf.Tensor, int_steps: int) -> tf.Tensor:
        """The displacement followed by the flow of a velocity, both ``[B, *S, N]`` voxels."""
        return compose(displacement, integrate(velocity, int_steps) if int_steps else velocity)

    def compute_output_shape(self, input_shape: Any) -> list[tuple[Any, ...]]:
        return [(*tuple(input_shape[0])[:-1], self.ndims)] * (self.steps + 1)

    def compute_output_spec(self, inputs: Any) -> list[keras.KerasTensor]:
        shapes = self.compute_output_shape([x.shape for x in inputs])
        return [keras.KerasTensor(shape, field_dtype(inputs[2].dtype)) for shape in shapes]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "ndims": self.ndims,
            "matching": self.widths[0],
            "regularization": self.widths[1],
            "radius": self.radius,
            "analytic_steps": self.analytic_steps,
            "int_steps": self.int_steps,
            "steps": self.steps,
            "shared": self.shared,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Propagation:
        return cls(**renamed_keys(config, {"guides": "analytic_steps"}))
