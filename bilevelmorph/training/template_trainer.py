"""A template and the network that registers it, learned together."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bilevelmorph.checks import fail, positive
from bilevelmorph.networks.fields import Fields
from bilevelmorph.ops.grid import crop, spatial_shape
from bilevelmorph.ops.warping import warp
from bilevelmorph.training.trainer import Trainer

# Adam moves every voxel by its rate; a template has farther to go than a kernel.
GAIN = 10.0
# Scans that the mean displacement remembers.
MEMORY = 100.0


class TemplateTrainer(Trainer):
    """Learns an image that all scans are reached from with the least deformation, on average none.

    Args:
        network, energy, augmentation, seed: See `Trainer`. The template is the
            moving image; scans are the fixed ones of each batch.
        start: ``[*S, C]``, such as the mean of the scans.
        image_weight: Share of the similarity of the warped template and the scan;
            the rest is that of the scan, warped back, and the template.
        mean_weight: Of the squared mean displacement over the last hundred scans.

    Reference: Dalca et al., Learning conditional deformable templates, NeurIPS 2019.

    >>> from bilevelmorph.losses.energy import Energy
    >>> from bilevelmorph.networks import VxmDense
    >>> scans = tf.random.stateless_uniform([4, 16, 16, 1], [0, 1])
    >>> pairs = tf.data.Dataset.from_tensor_slices({"moving": scans, "fixed": scans}).batch(1)
    >>> network = VxmDense(2, [[4], [4, 4]], int_steps=2)
    >>> energy = Energy("mse", weights={"similarity": 1.0, "regularity": 0.01})
    >>> trainer = TemplateTrainer(network, energy, start=np.mean(scans, 0))
    >>> trainer.compile(keras.optimizers.Adam(1e-3))
    >>> history = trainer.fit(pairs, epochs=1, steps_per_epoch=4)
    >>> trainer.template.shape
    (16, 16, 1)
    """

    def __init__(
        self,
        *args: Any,
        start: np.ndarray,
        image_weight: float = 0.5,
        mean_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.image_weight = positive("--image-loss-weight", image_weight, zero=True)
        if image_weight > 1:
            raise fail("--image-loss-weight", image_weight, "a share from 0 to 1")
        self.mean_weight = positive("--mean-loss-weight", mean_weight, zero=True)
        self._change = keras.Variable(np.asarray(start, np.float32)[None] / GAIN, name="template")
        shape = (1, *np.shape(start)[:-1], np.ndim(start) - 1)
        self._mean = keras.Variable(np.zeros(shape, np.float32), trainable=False, name="mean_displacement")

    def compile(  # type: ignore[override]
        self, optimizer: keras.optimizers.Optimizer
    ) -> None:
        """Set how network and template are moved: by one optimizer."""
        super().compile(optimizer, variables=[*self.network.trainable_variables, self._change])

    @property
    def template(self) -> np.ndarray:
        """``[*S, C]`` as it is now."""
        return np.array(self._change)[0] * GAIN

    @property
    def state_variables(self) -> list[Any]:
        return [*super().state_variables, self._change, self._mean]

    def objective(self, batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The weighted sum and its terms for a batch of scans."""
        scans = batch["fixed"]
        template = tf.repeat(self._change.value * GAIN, tf.shape(scans)[0], 0)
        fields = self.network.fields(template, scans, training=True)
        shape = spatial_shape(scans)
        displacement = crop(fields.displacement, shape)
        there = self.energy.similarity(scans, warp(template, displacement))
        terms = {"similarity": self.image_weight * there}
        if self.image_weight < 1:
            back = warp(scans, crop(fields.inverse(), shape), frozen=True)
            terms["similarity"] += (1 - self.image_weight) * self.energy.similarity(template, back)
        terms["regularity"] = self._regularity(fields)
        total = self.energy.total(terms)
        terms["mean"] = tf.reduce_mean(tf.square(self._remembered(displacement)))
        return total + self.mean_weight * terms["mean"], terms

    def _regularity(self, fields: Fields) -> tf.Tensor:
        parts = [self.energy.regularity(v) for v in fields.velocities]
        return tf.add_n(parts) / len(parts)

    def _remembered(self, displacement: tf.Tensor) -> tf.Tensor:
        """The mean displacement with this batch; it is kept."""
        share = tf.cast(tf.shape(displacement)[0], tf.float32) / MEMORY
        now = tf.reduce_mean(displacement, 0, keepdims=True)
        mean = (1 - share) * self._mean.value + share * now
        self._mean.assign(mean)
        return mean
