"""The objective of registration: weighted similarity and regularisation of a deformation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from bilevelmorph.errors import fail, positive
from bilevelmorph.losses.dice import SoftDice
from bilevelmorph.losses.regularity import diffusion, folding
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.networks.deformation import Deformation
from bilevelmorph.ops.grid import crop, spatial_shape
from bilevelmorph.ops.resizing import average_pool
from bilevelmorph.ops.warping import warp
from bilevelmorph.registry import LOSSES, REGULARIZERS, Registry

TERMS = ("similarity", "regularity", "folding", "kl", "feature_kl", "dice")


class Energy:
    """The named terms of the objective and their weighted sum.

    Weights may be tensors, so that a trainer can tune them.

    Args:
        similarity: A name of `bilevelmorph.registry.LOSSES` such as ``"ncc"``, a Keras
            loss, a function of ``(fixed, moved)``, or ``"package.module:Name"``. ``"dice"``
            is for images that are one-hot label maps, ``"position"`` for maps of known
            positions.
        width: Window width of the local correlation, in voxels of each scale.
        regularity: A name of `bilevelmorph.registry.REGULARIZERS`, a function of a
            velocity, or ``"package.module:name"``; applied to the velocity of every stage.
        weights: Weights of the terms ``similarity``, ``similarity_2``, ``similarity_4``, ...
            (at the scale of a stage), ``regularity``, ``folding``, ``kl`` (of
            the velocity), ``feature_kl`` (of probabilistic features) and ``dice``
            (of label maps); a term without a weight is not computed.
        bidir: Whether to compare also the fixed image, warped by the inverse, with the
            moving image.
        image_sigma: Standard deviation of the image noise, for ``"mse"``.
        kl_lambda: Prior precision of the ``kl`` term.

    Reference: Liu et al., TPAMI 2021.

    >>> Energy("mse", weights={"similarity": 1.0, "regularity": 0.01}).weights["regularity"]
    0.01
    """

    def __init__(
        self,
        similarity: Any = "ncc",
        width: int = 9,
        regularity: Any = "diffusion",
        weights: Mapping[str, Any] | None = None,
        bidir: bool = False,
        image_sigma: float = 1.0,
        kl_lambda: float = 10.0,
    ) -> None:
        self._config = {
            "similarity": _serialised(LOSSES, similarity),
            "width": width,
            "regularity": _serialised(REGULARIZERS, regularity),
            "bidir": bidir,
            "image_sigma": image_sigma,
            "kl_lambda": kl_lambda,
        }
        self.similarity = _component(LOSSES, similarity, width=width, image_sigma=image_sigma)
        self.regularity = _component(REGULARIZERS, regularity)
        # Not copied, because the values of `LossWeights` change.
        self.weights = weights or {"similarity": 1.0, "regularity": 1.0}
        for name, weight in self.weights.items():
            scale = name.removeprefix("similarity_")
            if name not in TERMS and not (name != scale and scale.isdigit()):
                raise fail("weight", name, ", ".join(TERMS) + " or similarity_2, similarity_4, ...")
            if not tf.is_tensor(weight):
                positive(f"weight of {name}", weight, zero=True)
        self.bidir, self.kl_lambda = bidir, kl_lambda

    # An energy has no variables of its own; see `bilevelmorph.training.objective.Objective`.
    variables: Sequence[Any] = ()
    state_variables: Sequence[Any] = ()

    def get_config(self) -> dict[str, Any]:
        """The configuration, with current weights, from which `from_config` restores the energy."""
        return {**self._config, "weights": {k: float(v) for k, v in self.weights.items()}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Energy:
        """Restore the energy with which a model was trained.

        Args:
            config: As returned by `get_config`. As it may come from a file, custom
                components are found only in modules that are already imported.

        Raises:
            InputError: A component belongs to a module that is not imported.
        """
        kept = dict(config)
        for name, registry in (("similarity", LOSSES), ("regularity", REGULARIZERS)):
            value = kept.get(name)
            if isinstance(value, Mapping):
                found = registry.find(value["identifier"], imported=True)
                kept[name] = found.from_config(value["config"])
            elif isinstance(value, str) and ":" in value:
                kept[name] = registry.make(value, imported=True, **kept)
        return cls(**kept)

    def evaluate(
        self, network: RegistrationNetwork, batch: Mapping[str, tf.Tensor], training: bool = True
    ) -> dict[str, tf.Tensor]:
        """Register a batch of pairs and compute its terms, unweighted.

        Args:
            network: Network that registers the pairs.
            batch: ``moving`` and ``fixed`` ``[B, *S, C]``, optionally ``moving_labels`` and
                ``fixed_labels`` ``[B, *S, K]``; ``moving_target`` and ``fixed_target``, if
                present, are compared instead of the images.
            training: As in Keras.

        Returns:
            Scalars by name.
        """
        deformation = network.deform(batch["moving"], batch["fixed"], training=training)
        moving, fixed = (batch.get(f"{side}_target", batch[side]) for side in ("moving", "fixed"))
        labels = [batch[k] for k in ("moving_labels", "fixed_labels") if k in batch]
        return self.terms(deformation, moving, fixed, labels or None)

    def terms(
        self,
        deformation: Deformation,
        moving: tf.Tensor,
        fixed: tf.Tensor,
        labels: Sequence[tf.Tensor] | None = None,
    ) -> dict[str, tf.Tensor]:
        """Compute every term that has a weight, unweighted.

        Args:
            deformation: Output of a network for this pair.
            moving, fixed: ``[B, *S, C]``.
            labels: Label maps of moving and fixed for ``dice``, one-hot ``[B, *S, K]``.

        Returns:
            Scalars by name.
        """
        shape = spatial_shape(fixed)
        displacement = crop(deformation.displacement, shape)
        out = {}
        if "similarity" in self.weights:
            out["similarity"] = self.similarity(fixed, warp(moving, displacement, stop_image_gradient=True))
        if self.bidir and "similarity" in out:
            inverse = crop(deformation.inverse(), shape)
            back = self.similarity(moving, warp(fixed, inverse, stop_image_gradient=True))
            out["similarity"] = (out["similarity"] + back) / 2
        for scale, stage in zip(*self._stages(deformation), strict=True):
            name = f"similarity_{scale}"
            if name in self.weights:
                small_moving, small_fixed = (self._reduce(x, scale, stage) for x in (moving, fixed))
                out[name] = self.similarity(small_fixed, warp(small_moving, stage, stop_image_gradient=True))
        if "kl" in self.weights:
            out["kl"] = kl_to_prior(deformation.extra["flow_parameters"], self.kl_lambda)
        if "feature_kl" in self.weights:
            parts = [kl_to_normal(f) for f in deformation.extra["features"]]
            out["feature_kl"] = tf.add_n(parts) / len(parts)
        if "regularity" in self.weights:
            parts = [self.regularity(v) for v in deformation.velocities]
            out["regularity"] = tf.add_n(parts) / len(parts)
        if "dice" in self.weights and labels is not None:
            out["dice"] = SoftDice()(labels[1], warp(labels[0], displacement, stop_image_gradient=True))
        if "folding" in self.weights:
            out["folding"] = folding(displacement)
        return out

    def total(self, terms: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The weighted sum of the terms."""
        return tf.add_n([tf.cast(self.weights[n], v.dtype) * v for n, v in terms.items()])

    @staticmethod
    def _stages(deformation: Deformation) -> tuple[list[int], list[tf.Tensor]]:
        full = deformation.displacement.shape[1]
        pairs = [(round(full / d.shape[1]), d) for d in deformation.displacements if full and d.shape[1]]
        pairs = [(s, d) for s, d in pairs if s > 1]
        return [s for s, _ in pairs], [d for _, d in pairs]

    @staticmethod
    def _reduce(image: tf.Tensor, scale: int, stage: tf.Tensor) -> tf.Tensor:
        """Pad an image and average it down to the grid of a stage."""
        whole = [n * scale for n in spatial_shape(stage)]
        extra = [[0, w - n] for w, n in zip(whole, spatial_shape(image), strict=True)]
        image = tf.pad(image, [[0, 0], *extra, [0, 0]])
        for _ in range(scale.bit_length() - 1):
            image = average_pool(image)
        return image


def _component(registry: Registry, identifier: Any, **options: Any) -> Any:
    if isinstance(identifier, Mapping):
        return registry.find(identifier["identifier"]).from_config(identifier["config"])
    return registry.make(identifier, **options)


def _serialised(registry: Registry, component: Any) -> Any:
    """A component in JSON form: its identifier, with its configuration if it has one."""
    if isinstance(component, (str, Mapping)):
        return component
    identifier = registry.identifier(component)
    if hasattr(component, "get_config"):
        return {"identifier": identifier, "config": component.get_config()}
    return identifier


def kl_to_normal(parameters: tf.Tensor) -> tf.Tensor:
    """Mean KL divergence of independent Gaussian features from the standard normal distribution.

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
        precision: Precision of the prior; VoxelMorph's `kl_lambda`.

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
