"""AutoReg: loss weights over architecture over network weights, all moved in one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bilevelmorph.bilevel import FirstOrder, Strategy
from bilevelmorph.bilevel.hypergradient import CONVERGED
from bilevelmorph.bilevel.strategy import finished
from bilevelmorph.checks import fail, positive
from bilevelmorph.networks.cell_network import CellNetwork
from bilevelmorph.networks.fields import Fields
from bilevelmorph.training.level import Level
from bilevelmorph.training.told_trainer import ToldTrainer


class SearchTrainer(ToldTrainer):
    """A `ToldTrainer` with the architecture as a level between loss weights and network.

    Args:
        network: A `CellNetwork` in which something is searched.
        energy, augmentation, seed: See `BilevelTrainer`. The objective is that of
            the lower level on training pairs and, with the same weights, that of
            the architecture on held-out pairs.

    Reference: Fan et al., AutoReg, TIP 2023.

    >>> from bilevelmorph.bilevel import OneStepDifferences
    >>> from bilevelmorph.losses.energy import Energy
    >>> from bilevelmorph.training.loss_weights import LossWeights
    >>> from bilevelmorph.training.upper_objective import UpperObjective
    >>> images = tf.random.stateless_uniform([4, 16, 16, 1], [0, 1])
    >>> pairs = tf.data.Dataset.from_tensor_slices({"moving": images, "fixed": images[::-1]}).batch(1)
    >>> weights = LossWeights({"similarity": 1.0, "regularity": 0.1}, frozen=["similarity"])
    >>> network = CellNetwork.space(2, (4, 2), ["conv1", "conv3", "skip"], layers=1, filters=4, int_steps=2)
    >>> trainer = SearchTrainer(network, Energy("mse", weights=weights))
    >>> upper, strategy = UpperObjective("label-free", 5), OneStepDifferences()
    >>> trainer.compile(keras.optimizers.Adam(1e-3), upper, strategy, architecture_every=2)
    >>> history = trainer.fit(pairs.take(2), pairs.skip(2), epochs=1, steps_per_epoch=4)
    >>> len(trainer.search)
    2
    >>> sorted(network.genotype().features)
    [2, 4]
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.network, CellNetwork) or not self.network.searched:
            raise fail("network", type(self.network).__name__, "a CellNetwork in which something is searched")
        self.cells: CellNetwork = self.network
        self.search: list[dict[str, float]] = []

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer,
        *args: Any,
        architecture_optimizer: keras.optimizers.Optimizer | None = None,
        architecture_strategy: Strategy | None = None,
        architecture_every: int = 2,
        warmup: int = 0,
        cost_weight: float = 0.0,
        costs: Mapping[tuple[int, str], float] | None = None,
        most: float = 0.0,
        gate_rate: float = 0.1,
        **kwargs: Any,
    ) -> None:
        """Set how the levels are moved.

        Args:
            optimizer, args, kwargs: See `BilevelTrainer.compile`.
            architecture_optimizer: Of the logits; Adam(0.02) by default.
            architecture_strategy: How training is differentiated by them;
                `FirstOrder` by default, as they act on held-out pairs directly.
            architecture_every: Lower steps for each step of the architecture.
            warmup: Lower steps before anything else moves, so that operations
                which learn slowly are not passed over for those that need not learn.
            cost_weight: Of what the architecture costs, as a share of what it costs now.
            costs: See `CellNetwork.expected_cost`.
            most: What it may cost: only what is above that is counted, as a share of it; 0 for none.
            gate_rate: Learning rate of the gates' logits.
        """
        super().compile(optimizer, *args, **{**kwargs, "warmup": warmup})
        self.cost_weight, self.costs = positive("--latency-weight", cost_weight, zero=True), costs
        self._whole = float(self.cells.expected_cost(costs))
        self.most = positive("--target-ms", most, zero=True)
        middle = Level(
            "architecture",
            self.cells.mixtures,
            self._registration,
            architecture_optimizer or keras.optimizers.Adam(0.02),
            architecture_strategy or FirstOrder(),
            architecture_every,
            warmup,
        )
        # No momentum: a gate that is not compared stays where it is.
        topology = Level(
            "topology",
            [g.logits for g in self.cells.gates],
            self._registration,
            keras.optimizers.RMSprop(gate_rate, rho=0.95),
            None,
            architecture_every,
            warmup,
        )
        self.set_levels([middle, topology, *self.levels])

    def seed_noise(self, step: tf.Tensor) -> tf.Tensor:
        """Also draw which gates are open in this step."""
        seed = super().seed_noise(step)
        chances = self._chances([g.logits for g in self.cells.gates])
        noise = tf.random.stateless_uniform(tf.shape(chances), tf.add(seed, [1, 0]))
        self.cells.open_gates(tf.cast(noise < chances, tf.float32))
        return seed

    @staticmethod
    def _chances(logits: Sequence[Any]) -> tf.Tensor:
        return tf.sigmoid(tf.concat([tf.convert_to_tensor(x) for x in logits], 0))

    def _level_step(
        self, level: Level, step: tf.Tensor, batch: dict[str, tf.Tensor], held: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        if level.name != "topology":
            return super()._level_step(level, step, batch, held)
        self.seed_noise(step)
        drawn = tf.concat([g() for g in self.cells.gates], 0)
        turn = (step - level.warmup) // level.every
        which = tf.one_hot(turn % drawn.shape[0], drawn.shape[0])

        def loss(opened: tf.Tensor) -> tf.Tensor:
            self.cells.open_gates(opened)
            fields = self.network.fields(held["moving"], held["fixed"], training=False)
            return self.energy.total(self.energy.terms(fields, held["moving"], held["fixed"]))

        # The exact derivative by the gate's probability: what it is worth with all others as drawn.
        self.exchange_averages(self._optimizers)
        without, with_it = loss(drawn * (1 - which)), loss(tf.maximum(drawn, which))
        self.exchange_averages(self._optimizers)
        values = [v.value for v in level.variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            chances = self._chances(values)
            # One gate stands for all of them, where costs are those of all.
            worth = drawn.shape[0] * tf.reduce_sum(which * chances) * tf.stop_gradient(with_it - without)
            total = worth + self.cost_weight * self._excess() if self.cost_weight else worth
        result = finished(tape.gradient(total, values), tf.minimum(without, with_it), 2)
        level.update(result.gradients, result.status == CONVERGED)
        return {"upper": result.upper_loss, "status": result.status, "worth": without - with_it}

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:  # type: ignore[override]
        """As of `BilevelTrainer`; afterwards gates are as the genotype has them."""
        history = super().fit(*args, **kwargs)
        self.cells.decide_gates()
        return history

    def _registration(self, fields: Fields, held: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The objective on held-out pairs, and the cost."""
        loss = self.energy.total(self.energy.terms(fields, held["moving"], held["fixed"]))
        if self.cost_weight:
            loss += self.cost_weight * self._excess()
        return loss

    def _excess(self) -> tf.Tensor:
        cost = self.cells.expected_cost(self.costs)
        return tf.nn.relu(cost / self.most - 1) if self.most else cost / self._whole

    def record(self, level: Level, row: dict[str, float]) -> None:
        super().record(level, row)
        if level.name == "architecture":
            kept = {k: v for k, v in row.items() if not k.startswith("slope_")}
            cost = float(self.cells.expected_cost(self.costs)) / self._whole
            self.search.append({**kept, "entropy": self.cells.entropy(), "cost": cost})

    def end_epoch(self) -> dict[str, float]:
        return {**super().end_epoch(), "entropy": self.cells.entropy()}

    def suspect(self) -> str:
        if not all(np.isfinite(np.asarray(v)).all() for v in self.cells.architecture):
            return "the architecture"
        return super().suspect()
