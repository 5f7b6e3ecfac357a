"""Bilevel training: network weights below, loss weights above."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bilevelmorph.bilevel import Adam, BilevelProblem, OneStep, Strategy
from bilevelmorph.bilevel.hypergradient import CONVERGED, MEANINGS
from bilevelmorph.checks import fail, positive
from bilevelmorph.ops.xla import compile_step
from bilevelmorph.training.loss_weights import LossWeights
from bilevelmorph.training.trainer import Diverged, Source, Trainer, as_source
from bilevelmorph.training.upper_objective import UpperObjective


class BilevelTrainer(Trainer):
    """Alternates steps of the network on training pairs and of the loss weights on others.

    Args:
        network, augmentation, seed: See `Trainer`.
        energy: The objective, whose weights are a `LossWeights`.

    Reference: Liu et al., TPAMI 2021.

    >>> from bilevelmorph.losses.energy import Energy
    >>> from bilevelmorph.networks import PropagationNetwork
    >>> images = tf.random.stateless_uniform([4, 16, 16, 1], [0, 1])
    >>> pairs = tf.data.Dataset.from_tensor_slices({"moving": images, "fixed": images[::-1]}).batch(1)
    >>> weights = LossWeights({"similarity": 1.0, "regularity": 0.1}, frozen=["similarity"])
    >>> network = PropagationNetwork(2, matching=[8], regularization=[8])
    >>> trainer = BilevelTrainer(network, Energy("mse", weights=weights))
    >>> trainer.compile(keras.optimizers.Adam(1e-3), UpperObjective("label-free", width=5), every=2)
    >>> history = trainer.fit(pairs.take(2), pairs.skip(2), epochs=1, steps_per_epoch=4)
    >>> [row["step"] for row in trainer.trajectory]
    [2, 4]
    >>> weights.numbers()["similarity"]
    1.0
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.energy.weights, LossWeights):
            raise fail("loss weights", type(self.energy.weights).__name__, "LossWeights")
        self.weights: LossWeights = self.energy.weights
        self._held: Iterator[Any] = iter(())
        self.trajectory: list[dict[str, float]] = []

    def compile(  # type: ignore[override]
        self,
        optimizer: keras.optimizers.Optimizer,
        upper: UpperObjective | None = None,
        strategy: Strategy | None = None,
        upper_optimizer: keras.optimizers.Optimizer | None = None,
        every: int = 5,
        warmup: int = 0,
    ) -> None:
        """Set how both levels are moved.

        Args:
            optimizer: Keras's Adam, of the network's weights.
            upper: What the loss weights are tuned for; Dice of warped labels by default.
            strategy: How to differentiate through training; `OneStep` by default.
            upper_optimizer: Of the logarithms of the loss weights; Adam(0.02) by default.
            every: Lower steps for each upper step.
            warmup: Lower steps before the first.
        """
        super().compile(optimizer)
        self.upper = upper or UpperObjective()
        self.strategy = strategy or OneStep()
        self.upper_optimizer = upper_optimizer or keras.optimizers.Adam(0.02)
        self.upper_optimizer.build(self.weights.variables)
        self.every = int(positive("--upper-every", every, whole=True))
        self.warmup = int(positive("--warmup", warmup, zero=True, whole=True))
        self._upper = compile_step(self._upper_step)

    def fit(  # type: ignore[override]
        self,
        source: Source | tf.data.Dataset,
        upper_source: Source | tf.data.Dataset,
        *args: Any,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train both levels.

        Args:
            source: Of training pairs; see `Trainer.fit`, also for further arguments.
            upper_source: Of the pairs that the loss weights are tuned on, which
                the network is never trained on, with what the upper objective needs.

        Returns:
            Keras's history, as of `Trainer.fit`, with the mean of the upper loss,
            the share of upper steps not taken (`skipped`) and every loss weight.

        Raises:
            Diverged: Names the term or the weight that is no longer finite.
        """
        self.upper_source = as_source(upper_source)
        return super().fit(source, *args, **kwargs)

    @property
    def state_variables(self) -> list[Any]:
        return [*super().state_variables, *self.upper_optimizer.variables, *self.weights.variables]

    def _upper_step(
        self, step: tf.Tensor, batch: dict[str, tf.Tensor], held: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """One update of the loss weights, none where the hypergradient is not to be trusted."""
        batch = self.prepare(step, batch)

        def lower() -> tf.Tensor:
            self.seed_noise(step)
            return self.objective(batch)[0]

        def upper() -> tf.Tensor:
            return self.upper(self.network.fields(held["moving"], held["fixed"], training=False), held)

        inner, state = Adam.of_keras(self.optimizer, self.network.trainable_variables)
        below = [v.value for v in self.network.trainable_variables]
        above = [v.value for v in self.weights.variables]
        result = self.strategy(BilevelProblem(below, above, lower, upper, inner, state))
        good = result.status == CONVERGED
        # A zero gradient would still move Adam, so the values are put back where it is not good.
        touched = [v.value for v in (*self.upper_optimizer.variables, *self.weights.variables)]
        kept = [tf.identity(v) for v in touched]
        self.upper_optimizer.apply_gradients(zip(result.gradients, self.weights.variables, strict=True))
        for variable, before in zip(touched, kept, strict=True):
            variable.assign(tf.where(good, variable, before))
        slopes = {f"slope_{n}": g for n, g in zip(self.weights.names, result.gradients, strict=True)}
        return {"upper": result.upper_loss, "status": result.status, "residual": result.residual, **slopes}

    def begin_epoch(self, first: int, steps: int, batch_size: int) -> None:
        uppers = [k for k in range(first, first + steps) if self._is_upper(k)]
        self._held = iter(self._upper_batches(uppers, batch_size))

    def after_step(self, step: tf.Tensor, batch: dict[str, tf.Tensor], number: int) -> dict[str, float]:
        return self._tune(step, batch, next(self._held)[1], number) if self._is_upper(number - 1) else {}

    def end_epoch(self) -> dict[str, float]:
        return {f"weight_{k}": v for k, v in self.weights.numbers().items()}

    def suspect(self) -> str:
        bad = [name for name, value in self.weights.numbers().items() if not np.isfinite(value)]
        return f"the weight of {bad[0]}" if bad else "loss"

    def _is_upper(self, step: int) -> bool:
        return step >= self.warmup and (step - self.warmup) % self.every == self.every - 1

    def _upper_batches(self, steps: list[int], batch_size: int) -> Any:
        """The pairs of the upper steps, numbered by themselves."""
        if not steps:
            return []
        first = (steps[0] - self.warmup) // self.every
        return self.upper_source.dataset(first, first + len(steps), batch_size)

    def _tune(self, step: tf.Tensor, batch: Any, held: Any, number: int) -> dict[str, float]:
        missing = [name for name in self.upper.needs if name not in held]
        if missing:
            raise fail("--upper", f"{self.upper.kind} without {missing[0]}", "pairs that have them")
        values = {k: float(v) for k, v in self._upper(step, batch, held).items()}
        status = int(values.pop("status"))
        if not np.isfinite(values["upper"]):
            raise Diverged(f"the upper loss is {MEANINGS[status]} at step {number}")
        skipped = float(status != CONVERGED)
        self.trajectory.append({"step": number, **values, **self.end_epoch(), "skipped": skipped})
        return {"upper": values["upper"], "skipped": skipped}
