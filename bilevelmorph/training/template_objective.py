"""The objective that trains a template together with the network that registers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bilevelmorph.errors import fail, positive
from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.ops.grid import crop, spatial_shape
from bilevelmorph.ops.warping import warp

# Adam moves every variable by about the learning rate, but voxels of a template must change more than
# network weights.
GAIN = 10.0
# Time constant of the running mean of the displacement, in scans.
MEMORY = 100.0


class TemplateObjective:
    """Objective of a template that matches all scans after small deformations with zero mean.

    The template is the moving image; the scans are the fixed images of each batch.

    Args:
        energy: Weighted similarity and regularisation.
        start: Initial template, ``[*S, C]``, such as the mean of the scans.
        image_weight: Weight, from 0 to 1, of the similarity between the warped template and the
            scan; the remainder weights that between the inversely warped scan and the template.
        mean_weight: Weight of the squared running mean of the displacement.

    Reference: Dalca et al., Learning conditional deformable templates, NeurIPS 2019.

    >>> from bilevelmorph.networks import VxmDense
    >>> from bilevelmorph.training.trainer import Trainer
    >>> scans = tf.random.stateless_uniform([4, 16, 16, 1], [0, 1])
    >>> pairs = tf.data.Dataset.from_tensor_slices({"moving": scans, "fixed": scans}).batch(1)
    >>> energy = Energy("mse", weights={"similarity": 1.0, "regularity": 0.01})
    >>> objective = TemplateObjective(energy, start=np.mean(scans, 0))
    >>> trainer = Trainer(VxmDense(2, [[4], [4, 4]], int_steps=2), objective)
    >>> history = trainer.compile(keras.optimizers.Adam(1e-3)).fit(pairs, steps_per_epoch=4)
    >>> objective.template.shape
    (16, 16, 1)
    """

    def __init__(
        self, energy: Energy, start: np.ndarray, image_weight: float = 0.5, mean_weight: float = 1.0
    ) -> None:
        self.energy = energy
        self.image_weight = positive("image_loss_weight", image_weight, zero=True)
        if image_weight > 1:
            raise fail("image_loss_weight", image_weight, "a share from 0 to 1")
        self.mean_weight = positive("mean_loss_weight", mean_weight, zero=True)
        self._change = keras.Variable(np.asarray(start, np.float32)[None] / GAIN, name="template")
        shape = (1, *np.shape(start)[:-1], np.ndim(start) - 1)
        self._mean = keras.Variable(np.zeros(shape, np.float32), trainable=False, name="mean_displacement")
        self.variables: Sequence[Any] = [self._change]
        self.state_variables: Sequence[Any] = [self._change, self._mean]

    @property
    def template(self) -> np.ndarray:
        """The present template, ``[*S, C]``."""
        return np.array(self._change)[0] * GAIN

    def get_config(self) -> dict[str, Any]:
        """The configuration of the energy, which instance optimisation uses."""
        return self.energy.get_config()

    def evaluate(
        self, network: RegistrationNetwork, batch: Mapping[str, tf.Tensor], training: bool = True
    ) -> dict[str, tf.Tensor]:
        """The terms of a batch of scans; see `Objective`."""
        scans = batch["fixed"]
        template = tf.repeat(self._change.value * GAIN, tf.shape(scans)[0], 0)
        deformation = network.deform(template, scans, training=training)
        shape = spatial_shape(scans)
        displacement = crop(deformation.displacement, shape)
        there = self.energy.similarity(scans, warp(template, displacement))
        terms = {"similarity": self.image_weight * there}
        if self.image_weight < 1:
            back = warp(scans, crop(deformation.inverse(), shape), stop_image_gradient=True)
            terms["similarity"] += (1 - self.image_weight) * self.energy.similarity(template, back)
        parts = [self.energy.regularity(v) for v in deformation.velocities]
        terms["regularity"] = tf.add_n(parts) / len(parts)
        terms["mean"] = tf.reduce_mean(tf.square(self._remembered(displacement)))
        return terms

    def total(self, terms: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The weighted sum of the terms."""
        own = {name: value for name, value in terms.items() if name != "mean"}
        return self.energy.total(own) + self.mean_weight * terms["mean"]

    def _remembered(self, displacement: tf.Tensor) -> tf.Tensor:
        """Update and return the running mean of the displacement, ``[1, *S, N]``."""
        share = tf.cast(tf.shape(displacement)[0], tf.float32) / MEMORY
        now = tf.reduce_mean(displacement, 0, keepdims=True)
        mean = (1 - share) * self._mean.value + share * now
        self._mean.assign(mean)
        return mean
