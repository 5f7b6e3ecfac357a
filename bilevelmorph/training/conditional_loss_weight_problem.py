"""Loss weights tuned by the response of a network that is conditioned on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from bilevelmorph.bilevel.hypergradient_method import finished
from bilevelmorph.errors import fail
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.training.loss_weight_problem import LossWeightProblem
from bilevelmorph.training.loss_weights import LossWeights
from bilevelmorph.training.outer_objective import DiceObjective, OuterObjective
from bilevelmorph.training.outer_problem import Batch, OuterProblem, outer_adam
from bilevelmorph.training.pair_provider import PairProvider

if TYPE_CHECKING:
    from bilevelmorph.training.trainer import Trainer

# Standard deviation of the logarithms of the loss weights with which the network is trained.
SPREAD = 1.0


class ConditionalLossWeightProblem(OuterProblem):
    """Tunes loss weights by the gradient of the outer loss with respect to the network's condition.

    The network is conditioned on the logarithms of the weights and trained for weights
    spread around their present values. Its response to the condition then approximates
    the effect of training with other weights, whereas a hypergradient method sees the
    effect of one step; the two differ until training has converged.

    Args:
        network: A network with as many `conditions` as there are weights to tune.
        weights: Loss weights, whose logarithms are optimised.
        pairs, objective, every, warmup: See `LossWeightProblem`.
        optimizer: `outer_adam(0.02)` by default.

    Reference: MacKay et al., ICLR 2019; Hoopes et al., HyperMorph, IPMI 2021.

    >>> from bilevelmorph.losses.energy import Energy
    >>> from bilevelmorph.networks import AutoRegNetwork, Genotype
    >>> from bilevelmorph.training.outer_objective import LabelFreeObjective
    >>> from bilevelmorph.training.trainer import Trainer
    >>> images = tf.random.stateless_uniform([4, 16, 16, 1], [0, 1])
    >>> pairs = tf.data.Dataset.from_tensor_slices({"moving": images, "fixed": images[::-1]}).batch(1)
    >>> weights = LossWeights({"similarity": 1.0, "regularity": 0.1}, frozen=["similarity"])
    >>> network = AutoRegNetwork.of(Genotype.uniform("conv3", (2,), 1, 4), 2, int_steps=1, conditions=1)
    >>> problem = ConditionalLossWeightProblem(network, weights, pairs, LabelFreeObjective(5), every=2)
    >>> trainer = Trainer(network, Energy("mse", weights=weights), problems=[problem])
    >>> history = trainer.compile(keras.optimizers.Adam(1e-3)).fit(pairs.take(2), steps_per_epoch=4)
    >>> difference = network.condition[0] - tf.math.log(weights["regularity"] / 0.1)
    >>> abs(float(difference)) < 1e-5
    True
    """

    def __init__(
        self,
        network: RegistrationNetwork,
        weights: LossWeights,
        pairs: PairProvider | tf.data.Dataset | None,
        objective: OuterObjective | None = None,
        optimizer: keras.optimizers.Optimizer | None = None,
        every: int = 5,
        warmup: int = 0,
    ) -> None:
        optimizer = optimizer or outer_adam(0.02)
        super().__init__("weights", weights.variables, pairs, optimizer, every, warmup, weights.names)
        self.network: Any = network
        self.weights, self.objective = weights, objective or DiceObjective()
        self.needs = self.objective.needs
        given = int(getattr(network, "conditions", 0))
        if given != len(self.variables):
            raise fail("conditions", given, f"{len(self.variables)}, as many as there are tuned loss weights")
        self._start = [float(v) for v in self.variables]
        self._spread: Any = 0.0

    def set_condition(self, spread: Any = 0.0) -> None:
        """Condition the network on the present loss weights times ``exp(spread)``."""
        logs = tf.stack([v.value for v in self.variables])
        self.network.condition.assign(logs - tf.constant(self._start) + spread)

    def sample(self, seed: tf.Tensor) -> None:
        """Sample the loss weights of this training step."""
        self.set_condition()
        self._spread = SPREAD * tf.random.stateless_normal([len(self.variables)], tf.add(seed, [2, 0]))

    def enter_inner(self) -> None:
        self.set_condition(self._spread)

    def reweight(self, terms: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        factors = dict(zip(self.names, tf.unstack(tf.exp(self._spread)), strict=True))
        return {n: tf.cast(factors.get(n, 1.0), v.dtype) * v for n, v in terms.items()}

    def step(self, trainer: Trainer, step: tf.Tensor, batch: Batch, outer: Batch) -> dict[str, tf.Tensor]:
        trainer.sample(step)
        with trainer.averaged():
            condition = self.network.condition.value
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(condition)
                deformation = self.network.deform(outer["moving"], outer["fixed"], training=False)
                loss = self.objective(deformation, outer)
            slopes = tf.unstack(tf.convert_to_tensor(tape.gradient(loss, condition)))
        found = finished(slopes, loss, 1)
        logged = self.update(found.gradients, loss, found.status)
        lengths = {name: tf.abs(v) for name, v in logged.items() if name.startswith("slope_")}
        return {**logged, **lengths, "residual": found.residual}

    loss_column = LossWeightProblem.loss_column
    skipped_column = LossWeightProblem.skipped_column
    suspect = LossWeightProblem.suspect

    def values(self) -> dict[str, float]:
        self.set_condition()
        return {f"weight_{name}": value for name, value in self.weights.numbers().items()}
