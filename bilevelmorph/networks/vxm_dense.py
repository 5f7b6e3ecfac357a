"""VoxelMorph's dense network in Keras 3: the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import fail
from bilevelmorph.layers.convolution import convolution, small_normal
from bilevelmorph.networks.base import COMMON_TERMS, RegistrationNetwork
from bilevelmorph.networks.deformation import Deformation
from bilevelmorph.networks.limits import CHANNELS, SCALE, SQUARINGS, whole
from bilevelmorph.ops.grid import as_field, crop, spatial_shape
from bilevelmorph.ops.integration import integrate
from bilevelmorph.ops.resizing import double, resize_field
from bilevelmorph.ops.sampling import reparametrised
from bilevelmorph.ops.warping import warp

DEFAULT_FEATURES = ((16, 32, 32, 32), (32, 32, 32, 32, 32, 16, 16))


@keras.saving.register_keras_serializable("bilevelmorph")
class VxmDense(RegistrationNetwork):
    """A U-Net that maps both images to one velocity or displacement.

    Layers, names and arithmetic are those of `voxelmorph.networks.VxmDense`
    0.2, so the same weights give the same displacement. The spatial size may vary.

    Args:
        inshape: Spatial sizes, as in VoxelMorph. Only their number is used, so 2 or 3
            is also accepted.
        nb_unet_features: Filters of the encoder and of the decoder; entries of
            the decoder beyond the encoder's length are at full resolution.
        int_steps: Number of squarings; 0 predicts a displacement directly.
        int_resolution: Downsampling of the velocity for integration.
        svf_resolution: Downsampling of the predicted velocity.
        bidir: Whether to return also the fixed image, warped by the inverse displacement.
        use_probs: Whether to predict a Gaussian velocity (VM-diff), sampled in training
            and replaced by its mean at inference.
        fill_value: Value outside the image to be warped; None repeats its edge voxels.
        src_feats, trg_feats: Channels of the moving and of the fixed image.
        int_downsize: VoxelMorph's older name for `int_resolution`.
        preprocessing, objective, name: See `RegistrationNetwork`.

    Reference: Balakrishnan et al., TMI 2019; Dalca et al., MedIA 2019.

    >>> network = VxmDense(2, nb_unet_features=[[8, 8], [8, 8, 4]])
    >>> network([tf.ones([1, 13, 10, 1]), tf.ones([1, 13, 10, 1])])["displacement"].shape.as_list()
    [1, 13, 10, 2]
    """

    def __init__(
        self,
        inshape: int | Sequence[int | None] = 3,
        nb_unet_features: Sequence[Sequence[int]] | None = None,
        int_steps: int = 7,
        int_resolution: int = 2,
        svf_resolution: int = 1,
        bidir: bool = False,
        use_probs: bool = False,
        fill_value: float | None = None,
        src_feats: int = 1,
        trg_feats: int = 1,
        int_downsize: int | None = None,
        preprocessing: dict[str, Any] | None = None,
        objective: dict[str, Any] | None = None,
        name: str = "vxm_dense",
        **kwargs: Any,
    ) -> None:
        ndims = inshape if isinstance(inshape, int) else len(inshape)
        kept = {"preprocessing": preprocessing, "objective": objective}
        super().__init__(ndims=ndims, channels=src_feats, name=name, **kept, **kwargs)
        features = nb_unet_features or DEFAULT_FEATURES
        if len(features) != 2 or len(features[1]) < len(features[0]):
            raise fail("nb_unet_features", features, "[encoder, decoder], the decoder at least as long")
        self.encoder_widths, self.decoder_widths = (
            [whole("nb_unet_features", f, CHANNELS) for f in part] for part in features
        )
        self.int_steps = whole("int_steps", int_steps, SQUARINGS, zero=True)
        resolution = int_resolution if int_downsize is None else int_downsize
        self.int_resolution = whole("int_resolution", resolution, SCALE) if int_steps else 1
        self.svf_resolution = whole("svf_resolution", svf_resolution, SCALE)
        self.bidir, self.use_probs, self.fill_value = bidir, use_probs, fill_value
        self.trg_feats = whole("trg_feats", trg_feats, CHANNELS)
        self._make_unet()
        self._make_heads()

    def _make_unet(self) -> None:
        n, name, levels = self.ndims, f"{self.name}_unet", len(self.encoder_widths)
        self.encoder = [
            convolution(n, f, name=f"{name}_enc_conv_{i}_0") for i, f in enumerate(self.encoder_widths)
        ]
        self.pool = getattr(keras.layers, f"MaxPooling{n}D")(2, name=f"{name}_pool")
        self.decoder = [
            convolution(n, f, name=f"{name}_dec_conv_{levels - 1 - i}_0")
            for i, f in enumerate(self.decoder_widths[:levels])
        ]
        self.final = [
            convolution(n, f, name=f"{name}_dec_final_conv_{i}")
            for i, f in enumerate(self.decoder_widths[levels:])
        ]

    def _make_heads(self) -> None:
        n = self.ndims
        self.flow = convolution(n, n, active=False, initializer=small_normal(), name=f"{self.name}_flow")
        self.log_sigma = None
        if self.use_probs:
            self.log_sigma = convolution(
                n, n, active=False, initializer=small_normal(1e-10), name=f"{self.name}_log_sigma"
            )
            self.log_sigma.bias_initializer = keras.initializers.Constant(-10.0)
            self.noise = keras.random.SeedGenerator(0)

    align = "corners"
    option_names = ("enc", "dec", "int_steps", "int_downsize", "use_probs", "bidir")

    @classmethod
    def from_options(cls, ndims: int, options: Mapping[str, Any], **shared: Any) -> VxmDense:
        channels = shared.pop("channels", 1)
        return cls(
            ndims,
            [options["enc"], options["dec"]],
            int_steps=options["int_steps"],
            int_resolution=options["int_downsize"],
            bidir=options.get("bidir", False),
            use_probs=options["use_probs"],
            src_feats=channels,
            trg_feats=channels,
            **shared,
        )

    @property
    def terms(self) -> frozenset[str]:
        return COMMON_TERMS | {"kl"} if self.use_probs else COMMON_TERMS

    @property
    def multiple(self) -> int:
        return 2 ** len(self.encoder_widths)

    @property
    def seed_generators(self) -> list[keras.random.SeedGenerator]:
        return [self.noise] if self.use_probs else []

    @property
    def _skipped(self) -> int:
        """Number of upsamplings omitted because the velocity has a lower resolution."""
        return self.svf_resolution.bit_length() - 1

    def build_layers(self, image: Any) -> None:
        space = tuple(image[:-1])
        channels = self._build_unet(space)
        for head in (self.flow, self.log_sigma):
            if head is not None:
                head.build((*space, channels))

    def _build_unet(self, space: tuple[Any, ...]) -> int:
        """Create the weights of `_unet` and return its number of output channels."""
        channels, skips = self.channels + self.trg_feats, []
        for block in self.encoder:
            block.build((*space, channels))
            channels = block.filters
            skips.append(channels)
        for i, block in enumerate(self.decoder):
            block.build((*space, channels))
            channels = block.filters + (skips.pop() if i < len(self.decoder) - self._skipped else 0)
        for block in self.final:
            block.build((*space, channels))
            channels = block.filters
        return channels

    def _unet(self, x: tf.Tensor) -> tf.Tensor:
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        for i, block in enumerate(self.decoder):
            x = block(x)
            if i < len(self.decoder) - self._skipped:
                x = tf.concat([double(x), skips.pop()], -1)
        for block in self.final:
            x = block(x)
        return x

    def in_voxels(self, velocity: tf.Tensor) -> tf.Tensor:
        """Convert the output of the last layer to a velocity in voxels, ``ij`` order."""
        return velocity

    def estimate(self, moving: tf.Tensor, fixed: tf.Tensor, training: bool = False) -> Deformation:
        x = self._unet(tf.concat([moving, fixed], -1))
        velocity = as_field(self.flow(x))
        extra = {}
        if self.log_sigma is not None:
            log_variance = as_field(self.log_sigma(x))
            extra["flow_parameters"] = tf.concat([velocity, log_variance], -1)
            if training:
                velocity = reparametrised(velocity, log_variance, self.noise)
        velocity = self.in_voxels(velocity)
        full = spatial_shape(fixed)
        half = [n // self.int_resolution for n in full]
        velocity = resize_field(velocity, half, align=self.align)
        step = integrate(velocity, self.int_steps) if self.int_steps else velocity
        displacement = resize_field(step, full, align=self.align)
        return Deformation(displacement, [velocity], [], self.int_steps, self.align, extra)

    def call(self, inputs: Any, training: bool = False) -> dict[str, tf.Tensor]:
        moving, fixed = self.split(inputs)
        shape = spatial_shape(fixed)
        deformation = self.deform(moving, fixed, training)
        displacement = crop(deformation.displacement, shape)
        out = {"moved": warp(moving, displacement, fill_value=self.fill_value), "displacement": displacement}
        if self.bidir:
            out["moved_fixed"] = warp(fixed, crop(deformation.inverse(), shape), fill_value=self.fill_value)
        return out

    def compute_output_shape(self, input_shape: Any) -> dict[str, tuple[Any, ...]]:
        shapes = super().compute_output_shape(input_shape)
        return {**shapes, "moved_fixed": shapes["moved"]} if self.bidir else shapes

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "inshape": self.ndims,
            "nb_unet_features": [self.encoder_widths, self.decoder_widths],
            "int_steps": self.int_steps,
            "int_resolution": self.int_resolution,
            "svf_resolution": self.svf_resolution,
            "bidir": self.bidir,
            "use_probs": self.use_probs,
            "fill_value": self.fill_value,
            "src_feats": self.channels,
            "trg_feats": self.trg_feats,
            "preprocessing": self.preprocessing,
            "objective": self.objective,
        }
