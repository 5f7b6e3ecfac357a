"""The objective of registration: weighted similarity and regularity of a pair's fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from bilevelmorph.checks import fail, one_of, positive
from bilevelmorph.losses.base import ImageLoss
from bilevelmorph.losses.dice import SoftDice
from bilevelmorph.losses.end_point_error import EndPointError
from bilevelmorph.losses.local_ncc import LocalNCC
from bilevelmorph.losses.mind import MIND
from bilevelmorph.losses.mse import MSE
from bilevelmorph.losses.nmi import NMI
from bilevelmorph.losses.regularity import bending, diffusion, folding
from bilevelmorph.networks.fields import Fields
from bilevelmorph.ops.grid import crop, spatial_shape
from bilevelmorph.ops.resizing import halve
from bilevelmorph.ops.warping import warp

SIMILARITIES = ("ncc", "mse", "mind", "nmi", "dice", "position")
TERMS = ("similarity", "regularity", "folding", "kl", "feature_kl", "dice")
REGULARITIES = {"diffusion": diffusion, "bending": bending}


def make_similarity(name: str, width: int = 9, image_sigma: float = 1.0) -> ImageLoss:
    """The similarity loss of a name.

    >>> make_similarity("ncc", 5).width
    5
    """
    one_of("image loss", name, SIMILARITIES)
    if name == "ncc":
        return LocalNCC(width)
    if name == "mse":
        return MSE(image_sigma)
    return {"mind": MIND, "nmi": NMI, "dice": SoftDice, "position": EndPointError}[name]()


class Energy:
    """Terms of the objective, by name, and their weighted sum.

    Weights are numbers or tensors, so that a trainer may tune them.

    Args:
        similarity: ``"ncc"``, ``"mse"``, ``"mind"`` or ``"nmi"``; ``"dice"``
            where the images are one-hot label maps, ``"position"`` where they
            are maps of known positions.
        width: Window of the local correlation, in voxels of each scale.
        regularity: ``"diffusion"`` or ``"bending"``, asked of every stage's velocity.
        weights: Of the terms ``similarity``, ``similarity_2``, ``similarity_4``, ...
            (at the scale of a stage), ``regularity``, ``folding``, ``kl`` (of
            the velocity), ``feature_kl`` (of probabilistic features) and ``dice``
            (of label maps); a term without a weight is not computed.
        bidir: Compare the fixed image, warped by the inverse, with the moving
            image too.
        image_sigma: Image noise, for ``"mse"``.
        kl_lambda: Prior precision of the ``kl`` term.

    Reference: Liu et al., TPAMI 2021.

    >>> Energy("mse", weights={"similarity": 1.0, "regularity": 0.01}).weights["regularity"]
    0.01
    """

    def __init__(
        self,
        similarity: str = "ncc",
        width: int = 9,
        regularity: str = "diffusion",
        weights: Mapping[str, Any] | None = None,
        bidir: bool = False,
        image_sigma: float = 1.0,
        kl_lambda: float = 10.0,
    ) -> None:
        self._config = {
            "similarity": similarity,
            "width": width,
            "regularity": regularity,
            "bidir": bidir,
            "image_sigma": image_sigma,
            "kl_lambda": kl_lambda,
        }
        self.similarity = make_similarity(similarity, width, image_sigma)
        self.regularity = REGULARITIES[one_of("regularity", regularity, REGULARITIES)]
        # Not copied: a `LossWeights` gives its present values at every look.
        self.weights = weights or {"similarity": 1.0, "regularity": 1.0}
        for name, weight in self.weights.items():
            scale = name.removeprefix("similarity_")
            if name not in TERMS and not (name != scale and scale.isdigit()):
                raise fail("weight", name, ", ".join(TERMS) + " or similarity_2, similarity_4, ...")
            if not tf.is_tensor(weight):
                positive(f"weight of {name}", weight, zero=True)
        self.bidir, self.kl_lambda = bidir, kl_lambda

    def get_config(self) -> dict[str, Any]:
        """What `Energy(**config)` makes again, the weights as they are now."""
        return {**self._config, "weights": {k: float(v) for k, v in self.weights.items()}}

    def terms(
        self, fields: Fields, moving: tf.Tensor, fixed: tf.Tensor, labels: Sequence[tf.Tensor] | None = None
    ) -> dict[str, tf.Tensor]:
        """Every term that has a weight, unweighted.

        Args:
            fields: Of a network for this pair.
            moving, fixed: ``[B, *S, C]``.
            labels: Of moving and fixed, one-hot ``[B, *S, K]``; for ``dice``.

        Returns:
            Scalars by name.
        """
        shape = spatial_shape(fixed)
        displacement = crop(fields.displacement, shape)
        out = {}
        if "similarity" in self.weights:
            out["similarity"] = self.similarity(fixed, warp(moving, displacement, frozen=True))
        if self.bidir and "similarity" in out:
            inverse = crop(fields.inverse(), shape)
            back = self.similarity(moving, warp(fixed, inverse, frozen=True))
            out["similarity"] = (out["similarity"] + back) / 2
        for scale, stage in zip(*self._stages(fields), strict=True):
            name = f"similarity_{scale}"
            if name in self.weights:
                small_moving, small_fixed = (self._reduce(x, scale, stage) for x in (moving, fixed))
                out[name] = self.similarity(small_fixed, warp(small_moving, stage, frozen=True))
        if "kl" in self.weights:
            out["kl"] = kl_to_prior(fields.extra["flow_parameters"], self.kl_lambda)
        if "feature_kl" in self.weights:
            parts = [kl_to_normal(f) for f in fields.extra["features"]]
            out["feature_kl"] = tf.add_n(parts) / len(parts)
        if "regularity" in self.weights:
            parts = [self.regularity(v) for v in fields.velocities]
            out["regularity"] = tf.add_n(parts) / len(parts)
        if "dice" in self.weights and labels is not None:
            out["dice"] = SoftDice()(labels[1], warp(labels[0], displacement, frozen=True))
        if "folding" in self.weights:
            out["folding"] = folding(displacement)
        return out

    def total(self, terms: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The weighted sum of the terms."""
        return tf.add_n([tf.cast(self.weights[n], v.dtype) * v for n, v in terms.items()])

    @staticmethod
    def _stages(fields: Fields) -> tuple[list[int], list[tf.Tensor]]:
        full = fields.displacement.shape[1]
        pairs = [(round(full / d.shape[1]), d) for d in fields.displacements if full and d.shape[1]]
        pairs = [(s, d) for s, d in pairs if s > 1]
        return [s for s, _ in pairs], [d for _, d in pairs]

    @staticmethod
    def _reduce(image: tf.Tensor, scale: int, stage: tf.Tensor) -> tf.Tensor:
        """The padded image averaged down to a stage's grid."""
        whole = [n * scale for n in spatial_shape(stage)]
        extra = [[0, w - n] for w, n in zip(whole, spatial_shape(image), strict=True)]
        image = tf.pad(image, [[0, 0], *extra, [0, 0]])
        for _ in range(scale.bit_length() - 1):
            image = halve(image)
        return image


def kl_to_normal(parameters: tf.Tensor) -> tf.Tensor:
    """KL divergence of independent Gaussian features from the standard normal, a feature.

    Args:
        parameters: ``[B, *S, 2 C]``: mean and log variance.

    Returns:
        Scalar.

    Reference: Kingma and Welling, ICLR 2014.

    >>> float(kl_to_normal(tf.zeros([1, 4, 4, 6])))
    0.0
    """
    mean, log_variance = tf.split(tf.cast(parameters, tf.float32), 2, -1)
    return 0.5 * tf.reduce_mean(tf.square(mean) + tf.exp(log_variance) - 1 - log_variance)


def kl_to_prior(parameters: tf.Tensor, precision: float) -> tf.Tensor:
    """KL divergence of a Gaussian velocity from VoxelMorph's smooth prior.

    Args:
        parameters: ``[B, *S, 2 N]``: mean and log variance.
        precision: Of the prior; VoxelMorph's `--kl-lambda`.

    Returns:
        Scalar.

    Reference: Dalca et al., MICCAI 2018.

    >>> float(kl_to_prior(tf.zeros([1, 4, 4, 4]), 10.0)) > 0
    True
    """
    mean, log_variance = tf.split(parameters, 2, -1)
    n = mean.shape[-1]
    neighbours = tf.zeros_like(mean[..., :1])
    for axis in range(1, n + 1):
        size = tf.shape(mean)[axis]
        place = tf.range(size)
        count = tf.cast(place > 0, mean.dtype) + tf.cast(place < size - 1, mean.dtype)
        neighbours += tf.reshape(count, [-1 if a == axis else 1 for a in range(n + 2)])
    spread = precision * neighbours * tf.exp(log_variance) - log_variance
    smooth = precision * diffusion(mean) * n
    return 0.5 * n * (tf.reduce_mean(spread) + smooth)
