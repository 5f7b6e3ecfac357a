"""The features of a network as an outer problem of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from bilevelmorph.bilevel.hypergradient_method import finished
from bilevelmorph.errors import fail, one_of
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.training.outer_objective import DiceObjective, LandmarkObjective, OuterObjective
from bilevelmorph.training.outer_problem import Batch, OuterProblem
from bilevelmorph.training.pair_provider import PairProvider

if TYPE_CHECKING:
    from bilevelmorph.training.trainer import Trainer

PARTS = ("features", "network")


class FeatureProblem(OuterProblem):
    """Optimises the features of a network for an outer objective, by its direct gradient.

    Outer pairs are augmented like training pairs, because features, unlike a handful of
    loss weights, can overfit to a few dozen pairs.

    Args:
        network: Network whose features are optimised.
        pairs: Outer pairs, with the annotations that the objective needs.
        objective: Objective that the features are optimised for; Dice of warped labels by default.
        part: ``"features"``, which inner training then leaves unchanged, or ``"network"``:
            the whole network, alternating with inner training.
        optimizer: Optimizer of the features; by default one like the network's.
        every, warmup: See `OuterProblem`.

    Reference: Liu et al., IJCAI 2020.

    >>> from bilevelmorph.networks import PropagationNetwork
    >>> network = PropagationNetwork(2, matching=[8], regularization=[8])
    >>> network.build()
    >>> problem = FeatureProblem(network, None, every=2)
    >>> len(problem.claimed) == len(network.encoder.trainable_variables)
    True
    """

    def __init__(
        self,
        network: RegistrationNetwork,
        pairs: PairProvider | tf.data.Dataset | None,
        objective: OuterObjective | None = None,
        part: str = "features",
        optimizer: keras.optimizers.Optimizer | None = None,
        every: int = 1,
        warmup: int = 0,
    ) -> None:
        self.part = one_of("outer_part", part, PARTS)
        network.build()
        groups = network.variable_groups
        if part == "features" and len(groups) < 2:
            raise fail("outer_features", type(network).__name__, "a network with features, e.g. propagation")
        variables = groups[0] if part == "features" else list(network.trainable_variables)
        super().__init__("features", variables, pairs, optimizer, every, warmup)
        self.objective = objective or DiceObjective()
        self.needs = self.objective.needs

    @property
    def claimed(self) -> list[Any]:
        return self.variables if self.part == "features" else []

    def step(self, trainer: Trainer, step: tf.Tensor, batch: Batch, outer: Batch) -> dict[str, tf.Tensor]:
        trainer.prepare(step, batch)
        # Not for landmarks, which would have to be mapped by the inverse.
        if not isinstance(self.objective, LandmarkObjective):
            # A seed different from that of the training pair in this step.
            outer = trainer.augmentation(outer, tf.stack([trainer.seed + 1, tf.cast(step, tf.int32)]))
        values = [v.value for v in self.variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            deformation = trainer.network.deform(outer["moving"], outer["fixed"], training=False)
            loss = self.objective(deformation, outer)
        found = finished(tape.gradient(loss, values, unconnected_gradients="zero"), loss, 1)
        return {**self.update(found.gradients, loss, found.status), "residual": found.residual}
