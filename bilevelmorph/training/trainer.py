"""Single-level training: network weights under a fixed objective."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.ops.xla import compile_step
from bilevelmorph.training.augmentation import Augmentation


class Diverged(RuntimeError):
    """A loss became NaN or infinite; the last checkpoint is still good."""


class Source(Protocol):
    """Where pairs come from; see `bilevelmorph.volumes.PairSource`."""

    def dataset(self, start: int, stop: int, batch_size: int) -> tf.data.Dataset: ...


class Trainer:
    """A gradient-tape loop over seeded pairs.

    Step k sees the same pair and the same augmentation whatever happened
    before it, so a run that is stopped and resumed ends with the same bits.

    Args:
        network: To be trained.
        energy: Its objective.
        optimizer: A Keras optimizer.
        augmentation: Applied to real pairs in the step.
        seed: Of augmentation and of random layers.
    """

    def __init__(
        self,
        network: RegistrationNetwork,
        energy: Energy,
        optimizer: keras.optimizers.Optimizer,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.network, self.energy, self.optimizer = network, energy, optimizer
        self.augmentation = augmentation or Augmentation()
        self.seed = seed
        network.build()
        optimizer.build(network.trainable_variables)
        self._step = compile_step(self._train_step)

    def _train_step(self, step: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One update."""
        batch = self.prepare(step, batch)
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            loss, terms = self.objective(batch)
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return {"loss": loss, **terms}

    def prepare(self, step: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Augment real pairs and set what the network draws noise from, both from the step alone."""
        seed = self.seed_noise(step)
        return batch if "moving_target" in batch else self.augmentation(batch, seed)

    def seed_noise(self, step: tf.Tensor) -> tf.Tensor:
        """Set what the network draws noise from by the step's number; the seed, ``[2]``."""
        seed = tf.stack([self.seed, tf.cast(step, tf.int32)])
        for generator in self.network.seed_generators:
            generator.state.assign(tf.cast(seed, generator.state.dtype))
        return seed

    def objective(self, batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The weighted sum and its terms for a batch."""
        fields = self.network.fields(batch["moving"], batch["fixed"], training=True)
        moving, fixed = (batch.get(f"{side}_target", batch[side]) for side in ("moving", "fixed"))
        labels = [batch[k] for k in ("moving_labels", "fixed_labels") if k in batch]
        terms = self.energy.terms(fields, moving, fixed, labels or None)
        return self.energy.total(terms), terms

    @property
    def state_variables(self) -> list[Any]:
        """What a checkpoint has to hold beside the network."""
        return list(self.optimizer.variables)

    def checked(self, terms: dict[str, tf.Tensor], step: int, epoch: int) -> dict[str, float]:
        """The terms as numbers.

        Raises:
            Diverged: One is not finite.
        """
        numbers = {k: float(v) for k, v in terms.items()}
        bad = [k for k, v in numbers.items() if not np.isfinite(v)]
        if bad:
            name = next((b for b in bad if b != "loss"), self.suspect())
            raise Diverged(f"{name} is no longer finite at step {step} (epoch {epoch + 1})")
        return numbers

    def suspect(self) -> str:
        """What to blame where every term is finite and their weighted sum is not."""
        return "loss"

    def epoch(
        self,
        source: Source,
        number: int,
        steps: int,
        batch_size: int = 1,
        progress: Callable[[int, float], None] | None = None,
    ) -> dict[str, float]:
        """Run one epoch.

        Args:
            source: Of pairs.
            number: Of the epoch, from 0; fixes which steps are run.
            steps: Per epoch.
            batch_size: Pairs a step.
            progress: Called with the steps done and the loss.

        Returns:
            Means of the loss and of every term, and the seconds taken.

        Raises:
            Diverged: Names the term that is no longer finite.
        """
        began, first = time.perf_counter(), number * steps
        sums: dict[str, list[float]] = {}
        self.begin_epoch(first, steps, batch_size)
        for done, (step, batch) in enumerate(source.dataset(first, first + steps, batch_size), 1):
            terms = self.checked(self._step(step, batch), first + done, number)
            terms |= self.after_step(step, batch, first + done)
            for key, value in terms.items():
                sums.setdefault(key, []).append(value)
            if progress:
                progress(done, terms["loss"])
        means = {k: float(np.mean(v)) for k, v in sums.items()}
        return {**means, **self.end_epoch(), "seconds": time.perf_counter() - began}

    def begin_epoch(self, first: int, steps: int, batch_size: int) -> None:
        """For what a subclass has to prepare before steps first..first+steps-1."""

    def after_step(self, step: tf.Tensor, batch: dict[str, tf.Tensor], number: int) -> dict[str, float]:
        """For what a subclass does after a step, `number` of them done; further terms to be averaged."""
        return {}

    def end_epoch(self) -> dict[str, float]:
        """Values of a subclass that are logged as they are, not averaged."""
        return {}
