"""VoxelMorph's integration layer without its loop over the batch."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.compat.voxelmorph.import_hook import require
from bilevelmorph.errors import fail, one_of, positive
from bilevelmorph.ops.grid import as_field, field_dtype
from bilevelmorph.ops.integration import integrate

_Parent = require().layers.VecInt


@keras.saving.register_keras_serializable("bilevelmorph")
class VecInt(_Parent):  # type: ignore[misc, valid-type]
    """Integrate a stationary velocity field over unit time.

    Results and gradients are those of `voxelmorph.layers.VecInt`. Its ``"ode"``
    method needs `tf.contrib`, which TensorFlow 2 lacks, and is rejected.

    Args:
        indexing: ``"ij"``, or ``"xy"``, where the first two components are exchanged.
        method: ``"ss"`` (or ``"scaling_and_squaring"``) or ``"quadrature"``.
        int_steps: Number of squarings or of Euler steps; 0 squarings return the input.
        out_time_pt, ode_args, odeint_fn: Unused; part of the parent's signature.

    Input: ``[B, *S, N]`` voxels per unit time. Output: ``[B, *S, N]`` voxels,
    float32 also under mixed precision.

    Reference: Dalca et al., MICCAI 2018.

    >>> VecInt(int_steps=5)(tf.zeros([1, 4, 4, 2])).shape.as_list()
    [1, 4, 4, 2]
    """

    def __init__(
        self,
        indexing: str = "ij",
        method: str = "ss",
        int_steps: int = 7,
        out_time_pt: float | None = 1,
        ode_args: dict[str, float] | None = None,
        odeint_fn: Any = None,
        **kwargs: Any,
    ) -> None:
        # The parent's constructor calls super(self.__class__, self), which recurses endlessly
        # in a subclass; the lines below replace the rest of it.
        kwargs.setdefault("autocast", False)
        keras.layers.Layer.__init__(self, **kwargs)
        self.indexing = one_of("indexing", indexing, ("ij", "xy"))
        self.method = one_of("method", method, ("ss", "scaling_and_squaring", "quadrature"))
        quadrature = method == "quadrature"
        self.int_steps = int(positive("int_steps", int_steps, zero=not quadrature, whole=True))
        self.out_time_pt = out_time_pt
        self.ode_args = ode_args or {"rtol": 1e-6, "atol": 1e-12}
        self.odeint_fn = odeint_fn
        self.inshape: tuple[Any, ...] | None = None

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape[0] if isinstance(input_shape[0], (list, tuple)) else input_shape)
        if shape[-1] != len(shape) - 2:
            raise fail("VecInt", f"a field of shape {shape}", f"{len(shape) - 2} components")
        self.inshape = shape
        self.built = True

    def call(self, inputs: Any) -> tf.Tensor:
        velocity = inputs[0] if isinstance(inputs, (list, tuple)) else inputs
        velocity = as_field(velocity)
        if self.indexing == "xy" and velocity.shape[-1] > 1:
            velocity = tf.concat([velocity[..., 1::-1], velocity[..., 2:]], -1)
        method = "quadrature" if self.method == "quadrature" else "ss"
        return integrate(velocity, self.int_steps, method)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        first = input_shape[0]
        return tuple(first if isinstance(first, (list, tuple)) else input_shape)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        velocity = inputs[0] if isinstance(inputs, (list, tuple)) else inputs
        return keras.KerasTensor(velocity.shape, field_dtype(velocity.dtype))
