"""Bilevel training: network weights below, loss weights above."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bilevelmorph.bilevel import Adam, Aligned, BilevelProblem, Strategy
from bilevelmorph.bilevel.hypergradient import CONVERGED, MEANINGS, Hypergradient
from bilevelmorph.bilevel.strategy import finished
from bilevelmorph.checks import fail, one_of, positive
from bilevelmorph.ops.xla import compile_step
from bilevelmorph.training.level import Level, upper_adam
from bilevelmorph.training.loss_weights import LossWeights
from bilevelmorph.training.trainer import Diverged, Source, Trainer, as_source
from bilevelmorph.training.upper_objective import UpperObjective

PARTS = ("features", "network")


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
        self._held: dict[str, Iterator[Any]] = {}
        self.trajectory: list[dict[str, float]] = []

    def compile(  # type: ignore[override]
        self,
        optimizer: keras.optimizers.Optimizer,
        upper: UpperObjective | None = None,
        strategy: Strategy | None = None,
        upper_optimizer: keras.optimizers.Optimizer | None = None,
        every: int = 5,
        warmup: int = 0,
        features_every: int = 0,
        part: str = "features",
    ) -> None:
        """Set how both levels are moved.

        Args:
            optimizer: Keras's Adam, of the network's weights. With `use_ema` the loss
                weights are tuned at the moving average, where the noise of single pairs
                does not speak for more regularity.
            upper: What the loss weights are tuned for; Dice of warped labels by default.
            strategy: How to differentiate through training; `Aligned` by default.
            upper_optimizer: Of the logarithms of the loss weights; `upper_adam(0.02)` by
                default. Another needs a small epsilon: their gradients may be 1e-7.
            every: Lower steps for each upper step.
            warmup: Lower steps before the first.
            features_every: Lower steps for each step of the features, which are then
                moved for the upper objective alone, by its direct derivative, with
                an optimizer like that of the network; 0 leaves them to training.
            part: ``"features"``, or ``"network"``: then all of it is moved so, in
                turn with training, which moves all of it too.
        """
        features, deformation = self._divided(features_every, part)
        super().compile(optimizer, variables=deformation)
        self.upper = upper or UpperObjective()
        weights = Level(
            "weights",
            self.weights.variables,
            self.upper,
            upper_optimizer or upper_adam(0.02),
            strategy or Aligned(),
            every,
            warmup,
            names=self.weights.names,
            needs=self.upper.needs,
        )
        levels = [weights]
        if features:
            like = type(optimizer).from_config(optimizer.get_config())
            level = Level(
                "features",
                features,
                self.upper,
                like,
                None,
                features_every,
                warmup,
                needs=self.upper.needs,
                # Points would have to move against the images.
                augmented=self.upper.kind != "landmarks",
            )
            levels.append(level)
        self.set_levels(levels)

    def _divided(self, features_every: int, part: str) -> tuple[list[Any], list[Any]]:
        """What the upper level moves of the network, and what the lower."""
        one_of("--upper-part", part, PARTS)
        everything = list(self.network.trainable_variables)
        if not positive("--upper-features", features_every, zero=True, whole=True):
            return [], everything
        if part == "network":
            return everything, everything
        groups = self.network.variable_groups
        if len(groups) < 2:
            raise fail("--upper-features", type(self.network).__name__, "a propagation network")
        return groups[0], [v for group in groups[1:] for v in group]

    def set_levels(self, levels: Sequence[Level]) -> None:
        """Set what is moved above the network, each by its own criterion."""
        self.levels = list(levels)
        for level in self.levels:
            if level.strategy is not None:
                level.strategy.build([v.value for v in self.variables])
        self._level_steps = {
            level.name: compile_step(partial(self._level_step, level)) for level in self.levels
        }

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
        return [*super().state_variables, *(v for level in self.levels for v in level.state_variables)]

    def _level_step(
        self, level: Level, step: tf.Tensor, batch: dict[str, tf.Tensor], held: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """One update of a level, none where its hypergradient is not to be trusted."""
        batch = self.prepare(step, batch)
        if level.augmented:
            # By other numbers than the training pair of this step.
            held = self.augmentation(held, tf.stack([self.seed + 1, tf.cast(step, tf.int32)]))

        def lower() -> tf.Tensor:
            self.seed_noise(step)
            return self.objective(batch)[0]

        def upper() -> tf.Tensor:
            fields = self.network.fields(held["moving"], held["fixed"], training=False)
            return level.criterion(fields, held)

        above = [v.value for v in level.variables]
        if level.strategy is None:
            result = _slope(above, upper)
        else:
            inner, state = Adam.of_keras(self.optimizer, self.variables)
            below = [v.value for v in self.variables]
            self.exchange_averages(self._optimizers)
            result = level.strategy(BilevelProblem(below, above, lower, upper, inner, state))
            self.exchange_averages(self._optimizers)
        level.update(result.gradients, result.status == CONVERGED)
        slopes = {f"slope_{n}": tf.norm(g) if g.shape.rank else g for n, g in level.named(result.gradients)}
        return {"upper": result.upper_loss, "status": result.status, "residual": result.residual, **slopes}

    def pace(
        self,
        source: Source | tf.data.Dataset,
        upper_source: Source | tf.data.Dataset,
        batch_size: int = 1,
        rounds: int = 3,
    ) -> float:
        """Seconds of a training step with its share of the levels above; nothing is moved by it.

        Args:
            source, upper_source, batch_size: As of `fit`.
            rounds: Of which the fastest counts.
        """
        self._check_compiled()
        # The state of the levels is among the network's weights in part; twice does no harm.
        touched = [*self.network.weights, *self.state_variables]
        kept = [np.array(v) for v in touched]
        step, batch = next(iter(as_source(source).dataset(0, 1, batch_size)))
        _, held = next(iter(as_source(upper_source).dataset(0, 1, batch_size)))
        jobs = [(1, partial(self._steps[0], step, batch))]
        jobs += [(v.every, partial(self._level_steps[v.name], step, batch, held)) for v in self.levels]
        total = 0.0
        for every, run in jobs:
            seconds = []
            for _ in range(rounds + 1):
                began = time.perf_counter()
                {k: np.array(v) for k, v in run().items()}
                seconds.append(time.perf_counter() - began)
            total += min(seconds[1:]) / every
        for variable, value in zip(touched, kept, strict=True):
            variable.assign(value)
        return total

    def begin_epoch(self, first: int, steps: int, batch_size: int) -> None:
        for level in self.levels:
            turns = [k for k in range(first, first + steps) if level.is_due(k)]
            held: Any = []
            if turns:
                # The pairs of a level's steps, numbered by themselves.
                start = level.turn(turns[0])
                held = self.upper_source.dataset(start, start + len(turns), batch_size)
            self._held[level.name] = iter(held)

    def after_step(self, step: tf.Tensor, batch: dict[str, tf.Tensor], number: int) -> dict[str, float]:
        values: dict[str, float] = {}
        for level in self.levels:
            if level.is_due(number - 1):
                values |= self._tune(level, step, batch, next(self._held[level.name])[1], number)
        return values

    def end_epoch(self) -> dict[str, float]:
        return {f"weight_{k}": v for k, v in self.weights.numbers().items()}

    def suspect(self) -> str:
        bad = [name for name, value in self.weights.numbers().items() if not np.isfinite(value)]
        return f"the weight of {bad[0]}" if bad else "loss"

    def _tune(self, level: Level, step: tf.Tensor, batch: Any, held: Any, number: int) -> dict[str, float]:
        missing = [name for name in level.needs if name not in held]
        if missing:
            raise fail("--upper", f"{self.upper.kind} without {missing[0]}", "pairs that have them")
        values = {k: float(v) for k, v in self._level_steps[level.name](step, batch, held).items()}
        status = int(values.pop("status"))
        if not np.isfinite(values["upper"]):
            raise Diverged(f"the upper loss is {MEANINGS[status]} at step {number}")
        skipped = float(status != CONVERGED)
        self.record(level, {"step": number, **values, **self.end_epoch(), "skipped": skipped})
        return {level.column: values["upper"], level.skips: skipped}

    def record(self, level: Level, row: dict[str, float]) -> None:
        """Keep what a step of a level found; a subclass has more levels than the loss weights."""
        if level.name == "weights":
            self.trajectory.append(row)


def _slope(variables: Sequence[Any], criterion: Callable[[], tf.Tensor]) -> Hypergradient:
    """The plain gradient, for a level that may move what the lower level moves too."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(variables)
        loss = criterion()
    return finished(tape.gradient(loss, variables, unconnected_gradients="zero"), loss, 1)
