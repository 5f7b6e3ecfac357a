"""Loss weights as an outer problem of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from bilevelmorph.bilevel import BilevelProblem, HypergradientMethod
from bilevelmorph.registry import METHODS
from bilevelmorph.training.loss_weights import LossWeights
from bilevelmorph.training.outer_objective import DiceObjective, OuterObjective
from bilevelmorph.training.outer_problem import Batch, OuterProblem, outer_adam
from bilevelmorph.training.pair_provider import PairProvider

if TYPE_CHECKING:
    from bilevelmorph.training.trainer import Trainer


class LossWeightProblem(OuterProblem):
    """Tunes the weights of the training objective on pairs that the network is not trained on.

    Args:
        weights: Loss weights, whose logarithms are optimised.
        pairs: Outer pairs, with the annotations that the objective needs.
        objective: Objective that the weights are tuned for; Dice of warped labels by default.
        method: How training is differentiated: a name of `bilevelmorph.registry.METHODS`,
            or a `HypergradientMethod`.
        optimizer: `outer_adam(0.02)` by default. Other optimizers also need a small epsilon,
            because gradients may be as small as 1e-7.
        every, warmup: See `OuterProblem`.

    Reference: Liu et al., TPAMI 2021.

    >>> from bilevelmorph.losses.energy import Energy
    >>> from bilevelmorph.networks import PropagationNetwork
    >>> from bilevelmorph.training.outer_objective import LabelFreeObjective
    >>> from bilevelmorph.training.trainer import Trainer
    >>> images = tf.random.stateless_uniform([4, 16, 16, 1], [0, 1])
    >>> pairs = tf.data.Dataset.from_tensor_slices({"moving": images, "fixed": images[::-1]}).batch(1)
    >>> weights = LossWeights({"similarity": 1.0, "regularity": 0.1}, frozen=["similarity"])
    >>> network = PropagationNetwork(2, [2], [[], [4]], matching=[4], regularization=[4], int_steps=2)
    >>> problem = LossWeightProblem(weights, pairs.skip(2), LabelFreeObjective(5), every=2)
    >>> trainer = Trainer(network, Energy("mse", weights=weights), problems=[problem])
    >>> history = trainer.compile(keras.optimizers.Adam(1e-3)).fit(pairs.take(2), steps_per_epoch=4)
    >>> [row["step"] for row in problem.trajectory]
    [2, 4]
    >>> weights.numbers()["similarity"]
    1.0
    """

    def __init__(
        self,
        weights: LossWeights,
        pairs: PairProvider | tf.data.Dataset | None,
        objective: OuterObjective | None = None,
        method: str | HypergradientMethod = "gradient-alignment",
        optimizer: keras.optimizers.Optimizer | None = None,
        every: int = 5,
        warmup: int = 0,
    ) -> None:
        optimizer = optimizer or outer_adam(0.02)
        super().__init__("weights", weights.variables, pairs, optimizer, every, warmup, weights.names)
        self.weights, self.objective = weights, objective or DiceObjective()
        self.method = METHODS.make(method)
        self.needs = self.objective.needs

    def step(self, trainer: Trainer, step: tf.Tensor, batch: Batch, outer: Batch) -> dict[str, tf.Tensor]:
        return hypergradient_step(self, trainer, step, batch, outer, self.objective)

    # The column names of version 0.1, so that logs of resumed runs stay consistent.

    @property
    def loss_column(self) -> str:
        return "upper"

    @property
    def skipped_column(self) -> str:
        return "skipped"

    def values(self) -> dict[str, float]:
        return {f"weight_{name}": value for name, value in self.weights.numbers().items()}

    def suspect(self) -> str | None:
        bad = [name for name, value in self.weights.numbers().items() if not np.isfinite(value)]
        return f"the weight of {bad[0]}" if bad else None


def hypergradient_step(
    problem: OuterProblem, trainer: Trainer, step: tf.Tensor, batch: Batch, outer: Batch, objective: Any
) -> dict[str, tf.Tensor]:
    """Take one step along the hypergradient of an objective, computed by the problem's method.

    Args:
        problem: Problem whose variables are updated.
        trainer, step, batch, outer: See `OuterProblem.step`.
        objective: Function of the deformation of the outer pairs and of their batch.
    """
    batch = trainer.prepare(step, batch)

    def inner_loss() -> tf.Tensor:
        trainer.sample(step)
        return trainer.objective(batch)[0]

    def outer_loss() -> tf.Tensor:
        deformation = trainer.network.deform(outer["moving"], outer["fixed"], training=False)
        return objective(deformation, outer)

    if problem.method is None:
        raise ValueError(f"the outer problem {problem.name} has no hypergradient method")
    optimizer, state = trainer.inner_optimizer()
    weights = [v.value for v in trainer.variables]
    tuned = [v.value for v in problem.variables]
    with trainer.averaged():
        result = problem.method(BilevelProblem(weights, tuned, inner_loss, outer_loss, optimizer, state))
    logged = problem.update(result.gradients, result.outer_loss, result.status)
    return {**logged, "residual": result.residual}
