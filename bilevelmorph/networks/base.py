"""The base class of registration networks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import fail, spatial_rank
from bilevelmorph.networks.deformation import Deformation
from bilevelmorph.networks.limits import CHANNELS, checked_preprocessing, whole
from bilevelmorph.ops.grid import crop, field_dtype, pad_to_multiple, spatial_shape
from bilevelmorph.ops.warping import warp
from bilevelmorph.registry import accepted

# Terms of the objective that every network supports.
COMMON_TERMS = frozenset({"similarity", "regularity", "folding", "dice"})


class RegistrationNetwork(keras.Model):
    """A Keras model that maps a pair of images to a deformation.

    Call it on ``[moving, fixed]``, each ``[B, *S, C]`` of any spatial size,
    intensities in [0, 1]. It returns ``{"moved": [B, *S, C], "displacement":
    [B, *S, N]}``, the displacement in voxels, ``ij`` order, pull-back.

    Subclasses define `estimate` for images whose sizes are divisible by `multiple`.

    Args:
        ndims: 2 or 3.
        channels: Channels of each image.
        preprocessing: Preparation of intensities and grids, stored in the model's
            configuration and applied again at inference.
        objective: Training objective, as returned by `Energy.get_config`.
        descent: Settings of instance optimisation after this network, a table of
            `bilevelmorph.config.DescentConfig`; those left out have their defaults.

    >>> class OneVoxel(RegistrationNetwork):
    ...     multiple, int_steps = 1, 0
    ...     def build_layers(self, image):
    ...         pass
    ...     def estimate(self, moving, fixed, training=False):
    ...         return Deformation.of_velocities([tf.ones([1, 4, 4, 2])], [4, 4], int_steps=0)
    >>> scan = tf.reshape(tf.range(16.0), [1, 4, 4, 1])
    >>> OneVoxel(2)([scan, scan])["moved"][0, 0, :, 0].numpy().tolist()
    [5.0, 6.0, 7.0, 7.0]
    """

    def __init__(
        self,
        ndims: int = 3,
        channels: int = 1,
        preprocessing: dict[str, Any] | None = None,
        objective: dict[str, Any] | None = None,
        descent: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ndims = spatial_rank("ndims", ndims, (2, 3))
        self.channels = whole("channels", channels, CHANNELS)
        self.preprocessing = checked_preprocessing(preprocessing)
        self.objective = dict(objective or {})
        self.descent = dict(descent or {})

    # Number of squarings, and how fields are resized; see `Deformation`.
    int_steps: int
    align: str = "centres"

    # Whether one graph serves images of all sizes; otherwise one is traced for each size.
    any_size: bool = False

    # Options of a training run that the network takes; by default the arguments of its constructor.
    option_names: tuple[str, ...] = ()

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """Names of the options of a training run that the network takes."""
        return cls.option_names or tuple(inspect.signature(cls).parameters)

    @classmethod
    def from_options(cls, ndims: int, options: Mapping[str, Any], **shared: Any) -> RegistrationNetwork:
        """Build an untrained network for a training run.

        Args:
            ndims: 2 or 3.
            options: Options of the run, see `bilevelmorph.config.NetworkConfig`; those
                that the constructor accepts are passed to it.
            shared: ``channels`` and ``preprocessing``.
        """
        return cls(ndims=ndims, **accepted(cls, options), **shared)

    @property
    def terms(self) -> frozenset[str]:
        """Terms of the objective that the network supports; see `bilevelmorph.losses.energy.Energy`."""
        return COMMON_TERMS

    @property
    def multiple(self) -> int:
        """Number that divides the sizes passed to `estimate`."""
        raise NotImplementedError

    @property
    def seed_generators(self) -> list[keras.random.SeedGenerator]:
        """Seed generators of the random layers; a trainer sets them at every step."""
        return []

    @property
    def variable_groups(self) -> list[list[Any]]:
        """Groups of trainable variables that a trainer may alternate between."""
        return [self.trainable_variables]

    def estimate(self, moving: tf.Tensor, fixed: tf.Tensor, training: bool = False) -> Deformation:
        """Predict the deformation of a padded pair."""
        raise NotImplementedError

    def deform(self, moving: tf.Tensor, fixed: tf.Tensor, training: bool = False) -> Deformation:
        """Predict the deformation of a pair of any size, with all its stages.

        Args:
            moving, fixed: ``[B, *S, C]``, the same size.
            training: As in Keras.

        Returns:
            `Deformation` on the padded grid; crop its `displacement` to the size of `fixed`.
        """
        moving, fixed = tf.convert_to_tensor(moving), tf.convert_to_tensor(fixed)
        return self.estimate(
            pad_to_multiple(moving, self.multiple), pad_to_multiple(fixed, self.multiple), training
        )

    def call(self, inputs: Any, training: bool = False) -> dict[str, tf.Tensor]:
        moving, fixed = self.split(inputs)
        shape = spatial_shape(fixed)
        displacement = crop(self.deform(moving, fixed, training).displacement, shape)
        return {"moved": warp(moving, displacement), "displacement": displacement}

    @staticmethod
    def split(inputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Split ``[moving, fixed]`` or ``{"moving": ..., "fixed": ...}`` into moving and fixed."""
        if isinstance(inputs, dict):
            return inputs["moving"], inputs["fixed"]
        if not isinstance(inputs, (list, tuple)) or len(inputs) != 2:
            raise fail("network inputs", type(inputs).__name__, "[moving, fixed]")
        return inputs[0], inputs[1]

    def build(self, input_shape: Any = None) -> None:
        """Create the weights, which do not depend on the spatial size."""
        if not getattr(self, "built", False):
            self.build_layers((None, *[None] * self.ndims, self.channels))
            self.built = True

    def build_layers(self, image: Sequence[int | None]) -> None:
        """Build every layer for images of this shape."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> dict[str, tuple[Any, ...]]:
        shapes = list(input_shape.values()) if isinstance(input_shape, dict) else input_shape
        moving = tuple(shapes[0])
        return {"moved": moving, "displacement": (*moving[:-1], self.ndims)}

    def compute_output_spec(self, inputs: Any, training: bool = False) -> dict[str, keras.KerasTensor]:
        shapes = self.compute_output_shape([x.shape for x in self.split(inputs)])
        kinds = dict.fromkeys(shapes, self.compute_dtype) | {"displacement": field_dtype(self.compute_dtype)}
        return {name: keras.KerasTensor(shape, kinds[name]) for name, shape in shapes.items()}

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ndims": self.ndims,
            "channels": self.channels,
            "preprocessing": self.preprocessing,
            "objective": self.objective,
            **({"descent": self.descent} if self.descent else {}),
        }

    def get_build_config(self) -> dict[str, Any]:
        return {"ndims": self.ndims}

    def build_from_config(self, config: dict[str, Any]) -> None:
        self.build()

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> RegistrationNetwork:
        return cls(**config)
