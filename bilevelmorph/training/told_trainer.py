"""Loss weights tuned by what a network does that is told them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from bilevelmorph.bilevel.hypergradient import CONVERGED
from bilevelmorph.bilevel.strategy import finished
from bilevelmorph.checks import fail
from bilevelmorph.training.bilevel_trainer import BilevelTrainer
from bilevelmorph.training.level import Level

# Of the logarithms of the weights that a network is trained for, a standard deviation.
SPREAD = 1.0


class ToldTrainer(BilevelTrainer):
    """A `BilevelTrainer` for networks that may be told the loss weights.

    Where one is (`CellNetwork.conditions`, one for each weight that is tuned) it is
    trained for weights spread around what they are, and they follow the slope of the
    upper loss by what the network is told: what training for other weights has made
    of it, where strategies see what one step does, which before training has
    converged is another thing. Networks that are told nothing are trained as ever.

    Args:
        network: With `conditions`; none or 0 of them where it is told nothing.
        energy, augmentation, seed: See `BilevelTrainer`.

    Reference: MacKay et al., ICLR 2019; Hoopes et al., HyperMorph, IPMI 2021.

    >>> import keras
    >>> from bilevelmorph.losses.energy import Energy
    >>> from bilevelmorph.networks import CellNetwork, Genotype
    >>> from bilevelmorph.training.loss_weights import LossWeights
    >>> from bilevelmorph.training.upper_objective import UpperObjective
    >>> images = tf.random.stateless_uniform([4, 16, 16, 1], [0, 1])
    >>> pairs = tf.data.Dataset.from_tensor_slices({"moving": images, "fixed": images[::-1]}).batch(1)
    >>> weights = LossWeights({"similarity": 1.0, "regularity": 0.1}, frozen=["similarity"])
    >>> network = CellNetwork.of(Genotype.uniform("conv3", (2,), 1, 4), 2, int_steps=1, conditions=1)
    >>> trainer = ToldTrainer(network, Energy("mse", weights=weights))
    >>> trainer.compile(keras.optimizers.Adam(1e-3), UpperObjective("label-free", 5), every=2)
    >>> history = trainer.fit(pairs.take(2), pairs.skip(2), epochs=1, steps_per_epoch=4)
    >>> difference = network.condition[0] - tf.math.log(weights["regularity"] / 0.1)
    >>> abs(float(difference)) < 1e-5
    True
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.told, free = int(getattr(self.network, "conditions", 0)), len(self.weights.variables)
        if self.told not in (0, free):
            raise fail("conditions", self.told, f"{free}, as many as loss weights are tuned, or 0")
        self._start = [float(v) for v in self.weights.variables]

    def tell(self, spread: Any = 0.0) -> None:
        """Tell the network the loss weights as they are, times ``exp(spread)``."""
        logs = tf.stack([v.value for v in self.weights.variables])
        self.network.condition.assign(logs - tf.constant(self._start) + spread)

    def seed_noise(self, step: tf.Tensor) -> tf.Tensor:
        """Also draw for which weights this step trains."""
        seed = super().seed_noise(step)
        if self.told:
            self.tell()
            self._spread = SPREAD * tf.random.stateless_normal([self.told], tf.add(seed, [2, 0]))
        return seed

    def objective(self, batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Where the network is told the weights, with others around them."""
        if not self.told:
            return super().objective(batch)
        self.tell(self._spread)
        _, terms = super().objective(batch)
        factors = dict(zip(self.weights.names, tf.unstack(tf.exp(self._spread)), strict=True))
        weighted = {n: tf.cast(factors.get(n, 1.0), v.dtype) * v for n, v in terms.items()}
        return self.energy.total(weighted), terms

    def _level_step(
        self, level: Level, step: tf.Tensor, batch: dict[str, tf.Tensor], held: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        if level.name != "weights" or not self.told:
            return super()._level_step(level, step, batch, held)
        self.seed_noise(step)
        self.exchange_averages(self._optimizers)
        condition = self.network.condition.value
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(condition)
            fields = self.network.fields(held["moving"], held["fixed"], training=False)
            loss = level.criterion(fields, held)
        slopes = tf.unstack(tf.convert_to_tensor(tape.gradient(loss, condition)))
        self.exchange_averages(self._optimizers)
        result = finished(slopes, loss, 1)
        level.update(result.gradients, result.status == CONVERGED)
        named = {f"slope_{n}": tf.abs(g) for n, g in level.named(result.gradients)}
        return {"upper": loss, "status": result.status, "residual": result.residual, **named}

    def end_epoch(self) -> dict[str, float]:
        if self.told:
            self.tell()
        return super().end_epoch()
