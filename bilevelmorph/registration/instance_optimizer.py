"""Instance optimisation of one pair after the network's forward pass."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.errors import positive
from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks.deformation import Deformation
from bilevelmorph.ops.grid import spatial_shape


class InstanceOptimizer:
    """Refines the velocities of all stages with Adam on the training objective.

    The result is the best iterate, so it is never worse than the start.

    Args:
        energy: The objective.
        steps: Number of iterations.
        rate: Learning rate of Adam, in voxels of each stage.

    >>> image = tf.random.stateless_uniform([1, 16, 16, 1], [0, 1])
    >>> moving, start = tf.roll(image, 1, 1), Deformation.of_velocities([tf.zeros([1, 8, 8, 2])], [16, 16])
    >>> energy = Energy("mse", weights={"similarity": 1.0, "regularity": 0.001})
    >>> refiner = InstanceOptimizer(energy, 5)
    >>> deformation, before, after = refiner(start, moving, image)
    >>> bool(after < before)
    True
    """

    def __init__(self, energy: Energy, steps: int = 50, rate: float = 0.03) -> None:
        self.energy = energy
        self.steps = int(positive("instance_steps", steps, whole=True))
        self.rate = positive("rate", rate)

    def __call__(
        self, deformation: Deformation, moving: tf.Tensor, fixed: tf.Tensor
    ) -> tuple[Deformation, tf.Tensor, tf.Tensor]:
        """Refine a deformation.

        Args:
            deformation: Output of a network for this pair.
            moving, fixed: ``[1, *S, C]``.

        Returns:
            The refined deformation, and the objective before and after, each a scalar.
        """
        grid = spatial_shape(deformation.displacement)
        values = [tf.convert_to_tensor(v) for v in deformation.velocities]
        moments = [tf.zeros_like(v) for v in values]
        count = len(values)

        def evaluate(velocities: list[Any]) -> tuple[tf.Tensor, list[tf.Tensor]]:
            with tf.GradientTape() as tape:
                tape.watch(velocities)
                now = Deformation.of_velocities(velocities, grid, deformation.int_steps, deformation.align)
                loss = self.energy.total(self.energy.terms(now, moving, fixed))
            return loss, tape.gradient(loss, velocities)

        def body(k: tf.Tensor, best: tf.Tensor, *parts: Any) -> tuple[Any, ...]:
            now, kept, first, second = (list(parts[i * count : (i + 1) * count]) for i in range(4))
            loss, slope = evaluate(now)
            kept = [tf.where(loss < best, a, b) for a, b in zip(now, kept, strict=True)]
            best = tf.minimum(best, loss)
            now, first, second = self._adam(now, slope, first, second, tf.cast(k + 1, tf.float32))
            return (k + 1, best, *now, *kept, *first, *second)

        before, _ = evaluate(values)
        start = (tf.constant(0), before, *values, *values, *moments, *moments)
        # One more evaluation than steps, for the result of the last step.
        out = tf.while_loop(lambda k, *_: k <= self.steps, body, start, parallel_iterations=1)
        kept = list(out[2 + count : 2 + 2 * count])
        return Deformation.of_velocities(kept, grid, deformation.int_steps, deformation.align), before, out[1]

    def _adam(self, values: Any, slopes: Any, first: Any, second: Any, step: tf.Tensor) -> tuple[Any, ...]:
        first = [0.9 * m + 0.1 * g for m, g in zip(first, slopes, strict=True)]
        second = [0.99 * v + 0.01 * g * g for v, g in zip(second, slopes, strict=True)]
        rate = self.rate * tf.sqrt(1 - 0.99**step) / (1 - 0.9**step)
        values = [
            x - rate * m / (tf.sqrt(v) + keras.config.epsilon())
            for x, m, v in zip(values, first, second, strict=True)
        ]
        return values, first, second
