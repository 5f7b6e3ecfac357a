"""The operations of a supernet as an outer problem of its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from bilevelmorph.bilevel import HypergradientMethod
from bilevelmorph.errors import fail
from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks.autoreg_network import AutoRegNetwork
from bilevelmorph.networks.deformation import Deformation
from bilevelmorph.registry import METHODS
from bilevelmorph.training.architecture_cost import ArchitectureCost
from bilevelmorph.training.loss_weight_problem import hypergradient_step
from bilevelmorph.training.outer_problem import Batch, OuterProblem
from bilevelmorph.training.pair_provider import PairProvider

if TYPE_CHECKING:
    from bilevelmorph.training.trainer import Trainer


class ArchitectureProblem(OuterProblem):
    """Optimises the mixtures of a supernet for the training objective, on pairs of its own.

    With a `LossWeightProblem` above it and the network's weights below it, this is the
    middle level of AutoReg; `TopologyProblem` optimises the gates.

    Args:
        network: Supernet.
        loss: Training objective with its present loss weights.
        pairs: Pairs that the network is not trained on.
        method: How training is differentiated with respect to the logits;
            ``"first-order"`` by default, because the objective depends on them directly.
        optimizer: Optimizer of the logits; Adam(0.02) by default.
        cost: Cost of the architecture, added to the objective.
        every, warmup: See `OuterProblem`. A warm-up keeps operations that learn slowly
            from losing to those that need no learning.

    Reference: Fan et al., AutoReg, TIP 2023.

    >>> from bilevelmorph.training.trainer import Trainer
    >>> images = tf.random.stateless_uniform([4, 16, 16, 1], [0, 1])
    >>> pairs = tf.data.Dataset.from_tensor_slices({"moving": images, "fixed": images[::-1]}).batch(1)
    >>> network = AutoRegNetwork.space(2, (2,), ["conv1", "conv3"], layers=1, filters=4, int_steps=1)
    >>> loss = Energy("mse", weights={"similarity": 1.0, "regularity": 0.1})
    >>> problem = ArchitectureProblem(network, loss, pairs.skip(2), every=2)
    >>> trainer = Trainer(network, loss, problems=[problem]).compile(keras.optimizers.Adam(1e-3))
    >>> history = trainer.fit(pairs.take(2), steps_per_epoch=4)
    >>> [row["step"] for row in problem.trajectory], sorted(network.genotype().features)
    ([2, 4], [2])
    """

    def __init__(
        self,
        network: AutoRegNetwork,
        loss: Energy,
        pairs: PairProvider | tf.data.Dataset | None,
        method: str | HypergradientMethod = "first-order",
        optimizer: keras.optimizers.Optimizer | None = None,
        cost: ArchitectureCost | None = None,
        every: int = 2,
        warmup: int = 0,
    ) -> None:
        need_supernet(network)
        network.build()
        optimizer = optimizer or keras.optimizers.Adam(0.02)
        super().__init__("architecture", network.mixtures, pairs, optimizer, every, warmup)
        self.network, self.loss, self.cost = network, loss, cost or ArchitectureCost(network)
        self.method = METHODS.make(method)

    def step(self, trainer: Trainer, step: tf.Tensor, batch: Batch, outer: Batch) -> dict[str, tf.Tensor]:
        return hypergradient_step(self, trainer, step, batch, outer, self.criterion)

    def criterion(self, deformation: Deformation, outer: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The objective on the outer pairs plus the cost penalty."""
        loss = self.loss.total(self.loss.terms(deformation, outer["moving"], outer["fixed"]))
        return loss + self.cost.penalty() if self.cost.weight else loss

    def values(self) -> dict[str, float]:
        return {"entropy": self.network.entropy()}

    def record(self, row: dict[str, float]) -> None:
        kept = {k: v for k, v in row.items() if not k.startswith("slope_")}
        super().record({**kept, "entropy": self.network.entropy(), "cost": self.cost.share()})

    def suspect(self) -> str | None:
        if all(np.isfinite(np.asarray(v)).all() for v in self.network.architecture):
            return None
        return "the architecture"


def need_supernet(network: object) -> None:
    """Reject a network in which nothing is searched."""
    if not isinstance(network, AutoRegNetwork) or not network.searched:
        raise fail("network", type(network).__name__, "an AutoRegNetwork in which something is searched")
