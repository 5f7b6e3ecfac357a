"""Uncertainty of the displacement, measured over random samples of a probabilistic network."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from bilevelmorph.errors import argument, fail, positive
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.ops.grid import crop, spatial_shape


class Uncertainty:
    """The standard deviation of a network's displacement over random samples.

    Args:
        network: A network with probabilistic features (`PropagationNetwork` with
            ``probabilistic=True``) or velocities (`VxmDense` with `use_probs`).
        samples: Number of samples per pair, at least 2.
        seed: Random seed of the samples, used for every pair.

    Raises:
        InputError: The network is deterministic.

    Reference: Liu et al., IJCAI 2020.

    >>> from bilevelmorph.networks import PropagationNetwork
    >>> network = PropagationNetwork(2, matching=[8], regularization=[8], probabilistic=True)
    >>> network.build()
    >>> image = tf.random.stateless_uniform([1, 16, 16, 1], [0, 1])
    >>> Uncertainty(network, samples=3)(image, tf.roll(image, 1, 1)).shape
    (16, 16, 2)
    """

    def __init__(self, network: RegistrationNetwork, samples: int = 16, seed: int = 0) -> None:
        self.samples = int(positive("mc_samples", samples, whole=True))
        if self.samples < 2:
            raise fail("mc_samples", samples, "at least 2")
        if not network.seed_generators:
            came = f"{samples} for a model that draws nothing"
            raise fail(
                "mc_samples",
                came,
                f"a model trained with {argument('probabilistic')} or {argument('use_probs')}",
            )
        self.network, self.seed = network, seed
        self._draw = tf.function(self._one, autograph=False, reduce_retracing=True)

    def __call__(self, moving: tf.Tensor, fixed: tf.Tensor) -> np.ndarray:
        """Sample displacements and compute their standard deviation.

        Args:
            moving, fixed: ``[1, *S, C]``.

        Returns:
            ``[*S, N]`` float32, voxels.
        """
        mean, spread = np.zeros(()), np.zeros(())
        for k in range(self.samples):
            value = self._draw(tf.constant(k), moving, fixed).numpy()[0].astype(np.float64)
            step = value - mean
            mean = mean + step / (k + 1)
            spread = spread + step * (value - mean)
        return np.sqrt(spread / (self.samples - 1)).astype(np.float32)

    def _one(self, number: tf.Tensor, moving: tf.Tensor, fixed: tf.Tensor) -> Any:
        for generator in self.network.seed_generators:
            seed = tf.stack([tf.constant(self.seed), number])
            generator.state.assign(tf.cast(seed, generator.state.dtype))
        deformation = self.network.deform(moving, fixed, training=True)
        return crop(deformation.displacement, spatial_shape(fixed))
