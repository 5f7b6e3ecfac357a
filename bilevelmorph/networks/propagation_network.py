"""Optimisation learning: coarse-to-fine stages of data matching and regularisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.compat.renamed import renamed_keys
from bilevelmorph.errors import fail
from bilevelmorph.layers.feature_encoder import FeatureEncoder
from bilevelmorph.layers.probabilistic_encoder import ProbabilisticEncoder
from bilevelmorph.layers.propagation import Propagation
from bilevelmorph.networks.base import COMMON_TERMS, RegistrationNetwork
from bilevelmorph.networks.deformation import Deformation
from bilevelmorph.networks.limits import CHANNELS, REPEATS, SCALE, SQUARINGS, whole
from bilevelmorph.ops.grid import as_field
from bilevelmorph.ops.resizing import upsample_field
from bilevelmorph.ops.sampling import reparametrised


@keras.saving.register_keras_serializable("bilevelmorph")
class PropagationNetwork(RegistrationNetwork):
    """Coarse-to-fine diffeomorphic registration by unrolled optimisation.

    One stage (`Propagation`) per scale, from coarse to fine, warps the moving
    features with the current deformation, proposes a velocity, regularises and
    integrates it, and composes the result with the deformation. The defaults are the
    paper's two scales; add 1 to `scales` for a stage at full resolution, and 8 or 16
    for larger motion.

    Args:
        ndims: 2 or 3.
        scales: Downsampling factors of the stages, coarse to fine, powers of two.
        encoder: Filters of the encoder's convolutions for factors 1, 2, 4, ...
            down to the coarsest; an empty list at factor 1 skips full resolution.
        matching: Hidden filters of the data-matching blocks.
        regularization: Hidden filters of the regularisation blocks (dilations
            1, 2, 4, ...); empty omits the block.
        radius: Search radius of the cost volume at each stage, or one for all.
        int_steps: Number of squarings; 0 composes displacements without integration.
        descriptor: None, or ``"mind"`` to compute features from contrast-independent
            descriptors at half resolution; see `FeatureEncoder`.
        analytic_steps: Closed-form steps that the learned blocks correct, ``"argmin"``
            (in stages with a search radius) and ``"gradient"``; see `DataMatching`.
        steps: Iterations of each stage, or one number for all.
        shared: Whether the iterations of a stage share their weights.
        probabilistic: Whether features are Gaussian, sampled in training and replaced by
            their means at inference; `extra["features"]` of the deformation holds mean and
            log variance.
        channels, preprocessing, objective: See `RegistrationNetwork`.

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
        analytic_steps: Sequence[str] = (),
        steps: int | Sequence[int] = 1,
        shared: bool = True,
        probabilistic: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(ndims=ndims, **kwargs)
        powers = [2**k for k in range(len(encoder))]
        self.scales = [whole("scales", s, SCALE) for s in scales]
        if not self.scales or sorted(set(self.scales), reverse=True) != self.scales:
            raise fail("scales", list(scales), "falling powers of two, such as 4 2")
        if any(s not in powers for s in self.scales):
            raise fail("scales", list(scales), f"some of {powers}", "give `encoder` more entries")
        self.encoder_widths = [[whole("encoder", f, CHANNELS) for f in w] for w in encoder]
        self.matching_widths = [whole("matching", f, CHANNELS) for f in matching]
        self.regularization_widths = [whole("regularization", f, CHANNELS) for f in regularization]
        self.radius = self._per_stage("radius", radius)
        self.steps = self._per_stage("steps", steps)
        self.analytic_steps, self.shared = list(analytic_steps), shared
        self.int_steps = whole("int_steps", int_steps, SQUARINGS, zero=True)
        self.probabilistic = probabilistic
        self.encoder: FeatureEncoder
        if probabilistic:
            sampled = [s for s in self.scales if self.encoder_widths[s.bit_length() - 1]]
            self.encoder = ProbabilisticEncoder(
                ndims, self.encoder_widths, descriptor, sampled, name="encoder"
            )
            self.noise = keras.random.SeedGenerator(0)
        else:
            self.encoder = FeatureEncoder(ndims, self.encoder_widths, descriptor, name="encoder")
        self.stages = [
            Propagation(
                ndims,
                self.matching_widths,
                self.regularization_widths,
                radius,
                [s for s in analytic_steps if radius or s != "argmin"],
                int_steps,
                steps,
                shared,
                name=f"stage_{scale}",
            )
            for scale, radius, steps in zip(self.scales, self.radius, self.steps, strict=True)
        ]

    def _per_stage(self, name: str, value: int | Sequence[int]) -> list[int]:
        values = [value] * len(self.scales) if isinstance(value, int) else list(value)
        if len(values) != len(self.scales):
            raise fail(name, value, f"one number, or {len(self.scales)}")
        return [whole(name, v, REPEATS, zero=name == "radius") for v in values]

    any_size = True
    option_names = (
        "scales",
        "encoder",
        "matching",
        "regularization",
        "radius",
        "int_steps",
        "descriptor",
        "analytic_steps",
        "steps",
        "probabilistic",
    )

    @classmethod
    def from_options(cls, ndims: int, options: Mapping[str, Any], **shared: Any) -> PropagationNetwork:
        own = {name: options[name] for name in cls.option_names}
        for name in ("radius", "steps"):  # one number applies to all stages
            own[name] = own[name][0] if len(own[name]) == 1 else own[name]
        return cls(ndims, **own, **shared)

    @property
    def terms(self) -> frozenset[str]:
        stages = {f"similarity_{scale}" for scale in self.scales if scale > 1}
        return COMMON_TERMS | stages | ({"feature_kl"} if self.probabilistic else set())

    @property
    def multiple(self) -> int:
        return 2 ** (len(self.encoder_widths) - 1)

    @property
    def seed_generators(self) -> list[keras.random.SeedGenerator]:
        return [self.noise] if self.probabilistic else []

    @property
    def variable_groups(self) -> list[list[Any]]:
        deformation = [v for stage in self.stages for v in stage.trainable_variables]
        return [self.encoder.trainable_variables, deformation]

    def build_layers(self, image: Any) -> None:
        self.encoder.build(image)
        shapes = FeatureEncoder.compute_output_shape(self.encoder, image)
        for scale, stage in zip(self.scales, self.stages, strict=True):
            feature = shapes[scale.bit_length() - 1]
            stage.build([feature, feature, (*feature[:-1], self.ndims)])

    def estimate(self, moving: tf.Tensor, fixed: tf.Tensor, training: bool = False) -> Deformation:
        both = self.encoder(tf.concat([moving, fixed], 0))
        extra = {}
        if self.probabilistic:
            both, extra["features"] = self._draw(both, training)
        pyramid = [tf.split(level, 2, 0) for level in both]
        velocities, displacements = [], []
        coarsest = pyramid[self.scales[0].bit_length() - 1][1]
        displacement = tf.zeros_like(as_field(tf.repeat(coarsest[..., :1], self.ndims, -1)))
        above = self.scales[0]
        for scale, stage in zip(self.scales, self.stages, strict=True):
            source, target = pyramid[scale.bit_length() - 1]
            displacement, above = upsample_field(displacement, above // scale), scale
            displacement, *steps = stage([target, source, displacement])
            velocities += steps
            displacements.append(displacement)
        full = upsample_field(displacement, above)
        return Deformation(full, velocities, displacements, self.int_steps, extra=extra)

    def _draw(self, levels: list[tf.Tensor], training: bool) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Features of every level, sampled in training, and the parameters of their distributions."""
        levels, distributions = list(levels), []
        for scale in self.encoder.scales:
            k = scale.bit_length() - 1
            distributions.append(levels[k])
            mean, log_variance = tf.split(levels[k], 2, -1)
            levels[k] = reparametrised(mean, log_variance, self.noise) if training else mean
        return levels, distributions

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
            "analytic_steps": self.analytic_steps,
            "steps": self.steps,
            "shared": self.shared,
            "probabilistic": self.probabilistic,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> PropagationNetwork:
        return cls(**renamed_keys(config, {"guides": "analytic_steps"}))
