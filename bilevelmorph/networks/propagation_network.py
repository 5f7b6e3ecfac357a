"""Optimisation learning: one data-matching and one regularisation block a scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.checks import fail
from bilevelmorph.layers.data_matching import DataMatching
from bilevelmorph.layers.feature_encoder import FeatureEncoder
from bilevelmorph.layers.regularization import Regularization
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.networks.fields import Fields
from bilevelmorph.ops.grid import spatial_shape
from bilevelmorph.ops.integration import integrate
from bilevelmorph.ops.resizing import resize_field
from bilevelmorph.ops.warping import compose, warp


@keras.saving.register_keras_serializable("bilevelmorph")
class PropagationNetwork(RegistrationNetwork):
    """Coarse-to-fine diffeomorphic registration by unrolled optimisation.

    At each scale, from the coarsest on: warp the moving features with the
    deformation so far, propose a velocity (`DataMatching`), smooth it
    (`Regularization`), integrate it and compose. The defaults are the paper's
    two scales; add 1 to `scales` for a stage at full resolution, and 8, 16 for
    larger motion.

    Args:
        ndims: 2 or 3.
        scales: Downsampling factors of the stages, coarse to fine, powers of two.
        encoder: Filters of the encoder's convolutions for factors 1, 2, 4, ...
            down to the coarsest; an empty list at factor 1 skips it.
        matching: Hidden filters of the data-matching blocks.
        regularization: Hidden filters of the regularisation blocks (dilations
            1, 2, 4, ...); empty leaves the block out.
        radius: Search radius of the match cost at each stage, or one for all.
        int_steps: Squarings; 0 composes displacements without integration.
        descriptor: None, or ``"mind"`` for features that see contrast-free
            descriptors at half resolution; see `FeatureEncoder`.
        explicit: Stages with a search radius start from the shift of least
            match cost; see `DataMatching`.
        channels, preprocessing: See `RegistrationNetwork`.

    Reference: Liu et al., TPAMI 2021 (arXiv 2004.14557).

    >>> network = PropagationNetwork(2, matching=[8], regularization=[8])
    >>> out = network([tf.ones([1, 13, 10, 1]), tf.ones([1, 13, 10, 1])])
    >>> out["displacement"].shape.as_list()
    [1, 13, 10, 2]
    """

    def __init__(
        self,
        ndims: int = 3,
        scales: Sequence[int] = (4, 2),
        encoder: Sequence[Sequence[int]] = ((), (16, 16, 16), (32, 32, 32)),
        matching: Sequence[int] = (48, 32, 16),
        regularization: Sequence[int] = (48, 48, 32),
        radius: int | Sequence[int] = 0,
        int_steps: int = 7,
        descriptor: str | None = None,
        explicit: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(ndims=ndims, **kwargs)
        powers = [2**k for k in range(len(encoder))]
        self.scales = [int(s) for s in scales]
        if not self.scales or sorted(set(self.scales), reverse=True) != self.scales:
            raise fail("scales", list(scales), "falling powers of two, such as 4 2")
        if any(s not in powers for s in self.scales):
            raise fail("scales", list(scales), f"some of {powers}", "give `encoder` more entries")
        self.encoder_widths = [list(w) for w in encoder]
        self.matching_widths, self.regularization_widths = list(matching), list(regularization)
        self.radius = [radius] * len(self.scales) if isinstance(radius, int) else list(radius)
        if len(self.radius) != len(self.scales):
            raise fail("radius", radius, f"one number, or {len(self.scales)}")
        self.int_steps, self.explicit = int_steps, explicit
        self.encoder = FeatureEncoder(ndims, self.encoder_widths, descriptor, name="encoder")
        self.matching = [
            DataMatching(ndims, self.matching_widths, r, explicit and r > 0, name=f"matching_{s}")
            for s, r in zip(self.scales, self.radius, strict=True)
        ]
        dilations = [2**i for i in range(len(self.regularization_widths))]
        self.regularization = [
            Regularization(ndims, self.regularization_widths, dilations, name=f"regularization_{s}")
            for s in (self.scales if self.regularization_widths else [])
        ]

    @property
    def multiple(self) -> int:
        return 2 ** (len(self.encoder_widths) - 1)

    def build_layers(self, image: Any) -> None:
        self.encoder.build(image)
        shapes = self.encoder.compute_output_shape(image)
        for i, scale in enumerate(self.scales):
            feature = shapes[scale.bit_length() - 1]
            field = (*feature[:-1], self.ndims)
            self.matching[i].build([feature, feature, field])
            if self.regularization:
                self.regularization[i].build(field)

    def estimate(self, moving: tf.Tensor, fixed: tf.Tensor, training: bool = False) -> Fields:
        both = self.encoder(tf.concat([moving, fixed], 0))
        pyramid = [tf.split(level, 2, 0) for level in both]
        displacement, velocities, displacements = None, [], []
        for i, scale in enumerate(self.scales):
            source, target = pyramid[scale.bit_length() - 1]
            displacement, velocity = self._stage(i, source, target, displacement)
            velocities.append(velocity)
            displacements.append(displacement)
        full = resize_field(displacement, spatial_shape(fixed))
        return Fields(full, velocities, displacements, self.int_steps)

    def _stage(self, i: int, source: tf.Tensor, target: tf.Tensor, before: Any) -> tuple[Any, Any]:
        """One stage: the displacement after it and its velocity, at the stage's scale."""
        shape = spatial_shape(target)
        if before is None:
            before = tf.zeros_like(tf.repeat(target[..., :1], self.ndims, -1), tf.float32)
            moved = source
        else:
            before = resize_field(before, shape)
            moved = warp(source, before)
        velocity = self.matching[i]([target, moved, before])
        if self.regularization:
            velocity = self.regularization[i](velocity)
        velocity = tf.cast(velocity, tf.float32)
        step = integrate(velocity, self.int_steps) if self.int_steps else velocity
        return (step if i == 0 else compose(before, step)), velocity

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "scales": self.scales,
            "encoder": self.encoder_widths,
            "matching": self.matching_widths,
            "regularization": self.regularization_widths,
            "radius": self.radius,
            "int_steps": self.int_steps,
            "descriptor": self.encoder.descriptor,
            "explicit": self.explicit,
        }
