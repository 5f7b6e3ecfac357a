"""The identity as a network."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.compat.renamed import renamed_from
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.networks.deformation import Deformation
from bilevelmorph.networks.limits import SCALE, SQUARINGS, whole
from bilevelmorph.ops.grid import field_dtype, spatial_shape


@renamed_from("StillNetwork")
@keras.saving.register_keras_serializable("bilevelmorph")
class IdentityNetwork(RegistrationNetwork):
    """A network that leaves every image as it is; useful in tests and as a baseline.

    Args:
        ndims: 2 or 3.
        int_resolution: Downsampling factor of the velocity.
        int_steps: Number of squarings.
        channels, preprocessing, objective: See `RegistrationNetwork`.

    >>> out = IdentityNetwork(2)([tf.ones([1, 9, 8, 1]), tf.zeros([1, 9, 8, 1])])
    >>> float(tf.reduce_max(tf.abs(out["displacement"]))), float(out["moved"][0, 4, 4, 0])
    (0.0, 1.0)
    """

    def __init__(self, ndims: int, int_resolution: int = 2, int_steps: int = 7, **kwargs: Any) -> None:
        super().__init__(ndims=ndims, **kwargs)
        self.int_resolution = whole("int_resolution", int_resolution, SCALE)
        self.int_steps = whole("int_steps", int_steps, SQUARINGS, zero=True)

    @property
    def multiple(self) -> int:
        return self.int_resolution

    def build_layers(self, image: Any) -> None:
        """Do nothing; the network has no layers."""

    def estimate(self, moving: tf.Tensor, fixed: tf.Tensor, training: bool = False) -> Deformation:
        full = spatial_shape(fixed)
        half = [n // self.int_resolution for n in full]
        velocity = tf.zeros([tf.shape(fixed)[0], *half, self.ndims], field_dtype(fixed.dtype))
        return Deformation.of_velocities([velocity], full, self.int_steps)

    def get_config(self) -> dict[str, Any]:
        own = {"int_resolution": self.int_resolution, "int_steps": self.int_steps}
        return {**super().get_config(), **own}
