"""The gates of a supernet as an outer problem of its training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from bilevelmorph.bilevel.hypergradient_method import finished
from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks.autoreg_network import AutoRegNetwork
from bilevelmorph.training.architecture_cost import ArchitectureCost
from bilevelmorph.training.architecture_problem import need_supernet
from bilevelmorph.training.outer_problem import Batch, OuterProblem
from bilevelmorph.training.pair_provider import PairProvider

if TYPE_CHECKING:
    from bilevelmorph.training.trainer import Trainer


class TopologyProblem(OuterProblem):
    """Optimises the gates of a supernet: inputs of cells, stages, repetitions.

    Every training step samples the gates from their probabilities. A step of this problem
    compares the loss with one gate open and closed, on pairs of its own and with all other
    gates as sampled; the difference is the exact derivative with respect to its probability.

    Args:
        network: Supernet.
        loss: Training objective with its present loss weights.
        pairs: Pairs that the network is not trained on.
        rate: Learning rate of the gates' logits.
        cost: Cost of the architecture, added to the objective.
        every, warmup: See `OuterProblem`.

    Reference: Fan et al., AutoReg, TIP 2023, which leaves the topology open.

    >>> network = AutoRegNetwork.space(2, (4, 2), ["conv1", "conv3"], layers=1, filters=4)
    >>> problem = TopologyProblem(network, Energy("mse"), None)
    >>> problem.sample(tf.constant([0, 1]))
    >>> sorted(set(float(x) for gate in network.gates for x in gate())) in ([1.0], [0.0, 1.0])
    True
    >>> problem.finish()  # gates as in the genotype
    """

    def __init__(
        self,
        network: AutoRegNetwork,
        loss: Energy,
        pairs: PairProvider | tf.data.Dataset | None,
        rate: float = 0.1,
        cost: ArchitectureCost | None = None,
        every: int = 2,
        warmup: int = 0,
    ) -> None:
        need_supernet(network)
        network.build()
        # No momentum, so that gates without a gradient in a step do not move.
        optimizer = keras.optimizers.RMSprop(rate, rho=0.95)
        super().__init__("topology", [g.logits for g in network.gates], pairs, optimizer, every, warmup)
        self.network, self.loss, self.cost = network, loss, cost or ArchitectureCost(network)

    def sample(self, seed: tf.Tensor) -> None:
        """Sample which gates are open in this step."""
        chances = _probabilities(self.variables)
        noise = tf.random.stateless_uniform(tf.shape(chances), tf.add(seed, [1, 0]))
        self.network.open_gates(tf.cast(noise < chances, tf.float32))

    def step(self, trainer: Trainer, step: tf.Tensor, batch: Batch, outer: Batch) -> dict[str, tf.Tensor]:
        trainer.sample(step)
        sampled = tf.concat([g() for g in self.network.gates], 0)
        turn = (step - self.warmup) // self.every
        which = tf.one_hot(turn % sampled.shape[0], sampled.shape[0])

        def loss(opened: tf.Tensor) -> tf.Tensor:
            self.network.open_gates(opened)
            deformation = self.network.deform(outer["moving"], outer["fixed"], training=False)
            return self.loss.total(self.loss.terms(deformation, outer["moving"], outer["fixed"]))

        with trainer.averaged():
            without, with_it = loss(sampled * (1 - which)), loss(tf.maximum(sampled, which))
        values = [v.value for v in self.variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            # The cost penalty covers all gates, so the difference of one gate is scaled by their number.
            chance = tf.reduce_sum(which * _probabilities(values))
            total = sampled.shape[0] * chance * tf.stop_gradient(with_it - without)
            total = total + self.cost.penalty() if self.cost.weight else total
        found = finished(tape.gradient(total, values), tf.minimum(without, with_it), 2)
        logged = self.update(found.gradients, found.outer_loss, found.status)
        kept = {name: value for name, value in logged.items() if not name.startswith("slope_")}
        return {**kept, "worth": without - with_it}

    def finish(self) -> None:
        self.network.decide_gates()


def _probabilities(logits: Sequence[Any]) -> tf.Tensor:
    return tf.sigmoid(tf.concat([tf.convert_to_tensor(x) for x in logits], 0))
