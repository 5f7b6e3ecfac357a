"""One stage of a searched network: a D cell that predicts a velocity from matched features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import positive
from bilevelmorph.layers.bernoulli_gate import BernoulliGate
from bilevelmorph.layers.cell import Cell
from bilevelmorph.layers.convolution import convolution, small_normal
from bilevelmorph.layers.film import FiLM
from bilevelmorph.layers.gated_sum import GatedSum
from bilevelmorph.layers.propagation import Propagation
from bilevelmorph.ops.grid import as_field, field_dtype
from bilevelmorph.ops.matching import cost_volume, soft_argmin
from bilevelmorph.ops.warping import warp


@keras.saving.register_keras_serializable("bilevelmorph")
class CellStage(keras.layers.Layer):
    """Match features, apply a D cell, integrate and compose at one scale, once or several times.

    The velocity is the shift of least matching cost (a soft argmin of learned
    sharpness) plus a linear projection of the cell's output. Repetitions share their
    weights and recompute the matching cost after every step.

    Args:
        ndims: 2 or 3.
        filters: Channels of the cell.
        operations: For each layer of the cell, the operations to choose from.
        names: Inputs of the cell: ``"features"``, ``"cost"``, ``"coarser"``.
        searched: Whether inputs, length, repetitions and the stage itself are searched.
        radius: Search radius of the cost volume, at least 1 voxel of the scale.
        int_steps: Number of squarings.
        conditions: Length of the condition that scales the cell's output and the velocity
            (see `FiLM`); 0 for none.
        steps: Number of applications of the cell; an upper bound if `searched`.

    Input: ``[fixed, moving, displacement]``: features ``[B, *S, C]`` twice, and
    ``[B, *S, N]`` voxels; then the last output of the next coarser cell, ``[B, *S, C']``,
    if `names` contains ``"coarser"``; then ``[B, conditions]``, if any. Output: the
    displacement after the stage, the last output of the cell, ``[B, *S, filters]``, and
    the velocity of every step.

    Reference: Fan et al., AutoReg, TIP 2023.

    >>> f, u = tf.ones([1, 8, 8, 4]), tf.zeros([1, 8, 8, 2])
    >>> [x.shape.as_list() for x in CellStage(2, 6, [["conv3"]], ["cost"])([f, f, u])]
    [[1, 8, 8, 2], [1, 8, 8, 6], [1, 8, 8, 2]]
    """

    def __init__(
        self,
        ndims: int,
        filters: int,
        operations: Sequence[Sequence[str]],
        names: Sequence[str],
        searched: bool = False,
        radius: int = 1,
        int_steps: int = 7,
        conditions: int = 0,
        steps: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ndims, self.radius, self.int_steps, self.searched = ndims, radius, int_steps, searched
        self.steps = int(positive("steps", steps, whole=True))
        policy = self.dtype_policy
        self.feed = GatedSum(ndims, filters, names, searched, name="feed", dtype=policy)
        self.cell = Cell(ndims, filters, operations, deep=not searched, name="cell", dtype=policy)
        self.gate = BernoulliGate(1, name="gate") if searched else None
        self.repeat = BernoulliGate(self.steps - 1, name="repeat") if searched and self.steps > 1 else None
        self.conditions = conditions
        names_of = ("film_hidden", "film_velocity") if conditions else ()
        self.modulations = [FiLM(conditions, name=name, dtype=policy) for name in names_of]
        self.head = convolution(
            ndims, ndims, active=False, initializer=small_normal(), name="head", dtype=policy
        )

    def build(self, input_shape: Any) -> None:
        fixed = tuple(input_shape[0])
        shapes = {
            "features": (*fixed[:-1], 2 * fixed[-1] + self.ndims),
            "cost": (*fixed[:-1], (2 * self.radius + 1) ** self.ndims),
        }
        if "coarser" in self.feed.names and len(input_shape) > 3:
            shapes["coarser"] = tuple(input_shape[3])
        self.feed.build(shapes)
        hidden = self.feed.compute_output_shape(shapes)
        self.cell.build(hidden)
        self.head.build(hidden)
        for layer, channels in zip(self.modulations, (hidden[-1], self.ndims), strict=False):
            layer.build([(*hidden[:-1], channels), (None, self.conditions)])
        start = keras.initializers.Constant(2.0)
        self.log_argmin = self.add_weight(name="log_argmin", shape=(), initializer=start)
        self.built = True

    @property
    def probability(self) -> tf.Tensor:
        """Probability that the stage is present, float32."""
        return self.gate.probabilities[0] if self.gate is not None else tf.ones([])

    @property
    def repetitions(self) -> tf.Tensor:
        """Expected number of repetitions after the first application, float32."""
        if self.repeat is None:
            return tf.constant(self.steps - 1.0)
        return tf.reduce_sum(self.repeat.probabilities)

    def call(self, inputs: Any) -> list[tf.Tensor]:
        displacement, hidden, velocities = as_field(inputs[2]), None, []
        for step in range(self.steps):
            velocity, found = self._velocity(inputs, displacement)
            if step and self.repeat is not None:
                opened = self.repeat()[step - 1]
                velocity *= tf.cast(opened, velocity.dtype)
                found = tf.where(opened > 0, found, hidden)
            velocities.append(velocity)
            hidden = found
            displacement = Propagation.advance(displacement, velocity, self.int_steps)
        return [displacement, hidden, *velocities]

    def _velocity(self, inputs: Any, displacement: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The velocity of one step and the output of the cell."""
        fixed, moving = inputs[:2]
        moved = warp(moving, displacement)
        cost = cost_volume(fixed, moved, self.radius)
        given = {"features": tf.concat([fixed, moved, tf.cast(displacement, fixed.dtype)], -1), "cost": cost}
        if "coarser" in self.feed.names:
            given["coarser"] = inputs[3]
        hidden = self.cell(self.feed(given))
        if self.modulations:
            hidden = self.modulations[0]([hidden, inputs[-1]])
        argmin = soft_argmin(cost, self.radius, self.ndims, tf.exp(self.log_argmin))
        velocity = self.head(hidden) + argmin
        if self.modulations:
            velocity = self.modulations[1]([velocity, inputs[-1]])
        velocity = as_field(velocity)
        if self.gate is not None:
            velocity *= tf.cast(self.gate()[0], velocity.dtype)
        return velocity, hidden

    def compute_output_shape(self, input_shape: Any) -> list[tuple[Any, ...]]:
        space = tuple(input_shape[0])[:-1]
        field = (*space, self.ndims)
        return [field, (*space, self.cell.filters), *[field] * self.steps]

    def compute_output_spec(self, inputs: Any) -> list[keras.KerasTensor]:
        shapes = self.compute_output_shape([x.shape for x in inputs])
        field = field_dtype(inputs[2].dtype)
        kinds = (field, self.compute_dtype, *[field] * self.steps)
        return [keras.KerasTensor(s, k) for s, k in zip(shapes, kinds, strict=True)]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "ndims": self.ndims,
            "filters": self.cell.filters,
            "operations": [layer.operations for layer in self.cell.choices],
            "names": self.feed.names,
            "searched": self.searched,
            "radius": self.radius,
            "int_steps": self.int_steps,
            "conditions": self.conditions,
            "steps": self.steps,
        }
