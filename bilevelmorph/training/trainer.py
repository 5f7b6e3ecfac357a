"""Single-level training: network weights under a fixed objective."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from bilevelmorph.checks import fail, positive
from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.ops.xla import compile_step
from bilevelmorph.training.augmentation import Augmentation


class Diverged(RuntimeError):
    """A loss became NaN or infinite; the last checkpoint is still good.

    >>> from bilevelmorph.networks import StillNetwork
    >>> trainer = Trainer(StillNetwork(2), Energy("mse", weights={"similarity": 1.0}))
    >>> trainer.checked({"loss": float("nan"), "similarity": float("nan")}, step=7, epoch=0)
    Traceback (most recent call last):
    bilevelmorph.training.trainer.Diverged: similarity is no longer finite at step 7 (epoch 1)
    """


class Source(Protocol):
    """Where pairs come from; see `bilevelmorph.volumes.PairSource`.

    >>> pairs = tf.data.Dataset.from_tensor_slices({"moving": [0, 1, 2], "fixed": [3, 4, 5]})
    >>> source = as_source(pairs)
    >>> [(int(step), int(batch["fixed"])) for step, batch in source.dataset(2, 5, batch_size=1)]
    [(2, 5), (3, 3), (4, 4)]
    """

    def dataset(self, start: int, stop: int, batch_size: int) -> tf.data.Dataset: ...


class Trainer:
    """A gradient-tape loop over seeded pairs, with Keras's `compile`, `fit` and callbacks.

    Step k sees the same pair and the same augmentation whatever happened
    before it, so a run that is stopped and resumed ends with the same bits.

    Args:
        network: To be trained.
        energy: Its objective.
        augmentation: Applied to real pairs in the step.
        seed: Of augmentation and of random layers.

    >>> from bilevelmorph.networks import PropagationNetwork
    >>> images = tf.random.stateless_uniform([4, 16, 16, 1], [0, 1])
    >>> pairs = tf.data.Dataset.from_tensor_slices({"moving": images, "fixed": images[::-1]}).batch(2)
    >>> network = PropagationNetwork(2, matching=[8], regularization=[8])
    >>> trainer = Trainer(network, Energy("mse", weights={"similarity": 1.0, "regularity": 0.01}))
    >>> trainer.compile(keras.optimizers.Adam(1e-3))
    >>> history = trainer.fit(pairs, epochs=2, steps_per_epoch=3)
    >>> len(history.history["loss"])
    2
    """

    def __init__(
        self,
        network: RegistrationNetwork,
        energy: Energy,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.network, self.energy = network, energy
        self.augmentation = augmentation or Augmentation()
        self.seed = seed
        self.optimizer: Any = None
        network.build()

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer,
        alternate: int = 0,
        variables: Sequence[Any] | None = None,
    ) -> None:
        """Set how the network's weights are moved.

        Args:
            optimizer: A Keras optimizer. Where it keeps a moving average of the weights
                (`use_ema`), the network has that whenever no step is taken: for
                callbacks at the end of an epoch, and after `fit`.
            alternate: So many steps of the features, then as many of the
                deformation, each with an optimizer like this one; 0 moves
                everything at once.
            variables: Those of the network that are moved; all by default.
        """
        self.alternate = int(positive("--alternate", alternate, zero=True, whole=True))
        self.variables = list(self.network.trainable_variables if variables is None else variables)
        groups = self.network.variable_groups if alternate else [self.variables]
        self.optimizer = optimizer
        # A configuration, not the optimizer itself, because each needs moments of its own.
        config = optimizer.get_config()
        self._optimizers = [optimizer, *(type(optimizer).from_config(config) for _ in groups[1:])]
        for one, group in zip(self._optimizers, groups, strict=True):
            one.build(group)
        parts = self._parts = list(zip(self._optimizers, groups, strict=True))
        self._steps = [compile_step(partial(self._train_step, one, group)) for one, group in parts]

    def fit(
        self,
        source: Source | tf.data.Dataset,
        epochs: int = 1,
        steps_per_epoch: int = 100,
        batch_size: int = 1,
        callbacks: Iterable[keras.callbacks.Callback] = (),
        initial_epoch: int = 0,
    ) -> keras.callbacks.History:
        """Train.

        Args:
            source: Of pairs; or a dataset of batches ``{"moving": [B, *S, C],
                "fixed": ...}``, which is repeated as often as needed.
            epochs: Number of the last.
            steps_per_epoch: Steps of each.
            batch_size: Pairs a step; a dataset has its own.
            callbacks: Keras's; `stop_training` of the network is heeded.
            initial_epoch: Epochs already done.

        Returns:
            Keras's history: for each epoch the means of the loss and of every
            term, unweighted, and the seconds taken.

        Raises:
            Diverged: Names the term that is no longer finite.
        """
        self._check_compiled()
        calls = keras.callbacks.CallbackList(list(callbacks), add_history=True, model=self.network)
        self.network.stop_training = False
        calls.on_train_begin()
        for number in range(initial_epoch, epochs):
            calls.on_epoch_begin(number)
            values = self._epoch(as_source(source), number, steps_per_epoch, batch_size, calls)
            calls.on_epoch_end(number, values)
            if self.network.stop_training:
                break
        calls.on_train_end()
        return self.network.history

    def _check_compiled(self) -> None:
        if self.optimizer is None:
            raise fail("fit", "a trainer that is not compiled", "trainer.compile(optimizer, ...) before it")

    def _epoch(
        self, source: Source, number: int, steps: int, batch_size: int, calls: Any
    ) -> dict[str, float]:
        began, first = time.perf_counter(), number * steps
        sums: dict[str, list[float]] = {}
        self._exchange_begun()
        self.begin_epoch(first, steps, batch_size)
        for done, (step, batch) in enumerate(source.dataset(first, first + steps, batch_size), 1):
            calls.on_train_batch_begin(done - 1)
            turn = (first + done - 1) // self.alternate % len(self._steps) if self.alternate else 0
            terms = self.checked(self._steps[turn](step, batch), first + done, number)
            terms |= self.after_step(step, batch, first + done)
            for key, value in terms.items():
                sums.setdefault(key, []).append(value)
            calls.on_train_batch_end(done - 1, terms)
        self._exchange_begun()
        means = {k: float(np.mean(v)) for k, v in sums.items()}
        return {**means, **self.end_epoch(), "seconds": time.perf_counter() - began}

    def exchange_averages(self, optimizers: Sequence[Any]) -> None:
        """Exchange the weights and their moving averages in these optimizers; twice is nothing."""
        for one, group in self._parts:
            if one in optimizers and one.use_ema:
                for weight, average in zip(group, one._model_variables_moving_average, strict=True):
                    kept = tf.identity(weight.value)
                    weight.assign(average.value)
                    average.assign(kept)

    def _exchange_begun(self) -> None:
        # Before its first step an optimizer has no averages yet.
        self.exchange_averages([one for one in self._optimizers if int(one.iterations) > 0])

    def _train_step(
        self, optimizer: Any, variables: list[Any], step: tf.Tensor, batch: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """One update of these variables."""
        batch = self.prepare(step, batch)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            loss, terms = self.objective(batch)
        # Keras averages variables in order, and loses count where a gradient is missing.
        gradients = tape.gradient(loss, [v.value for v in variables], unconnected_gradients="zero")
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
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
        return [v for one in self._optimizers for v in one.variables]

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

    def begin_epoch(self, first: int, steps: int, batch_size: int) -> None:
        """For what a subclass has to prepare before steps first..first+steps-1."""

    def after_step(self, step: tf.Tensor, batch: dict[str, tf.Tensor], number: int) -> dict[str, float]:
        """For what a subclass does after a step, `number` of them done; further terms to be averaged."""
        return {}

    def end_epoch(self) -> dict[str, float]:
        """Values of a subclass that are logged as they are, not averaged."""
        return {}


class _Batches:
    """A dataset of batches as a source: step k sees batch k of its endless repetition."""

    def __init__(self, batches: tf.data.Dataset) -> None:
        self.batches = batches.repeat()

    def dataset(self, start: int, stop: int, batch_size: int) -> tf.data.Dataset:
        return self.batches.skip(start).take(stop - start).enumerate(start)


def as_source(pairs: Source | tf.data.Dataset) -> Source:
    """A dataset as a source; a source as it is."""
    return _Batches(pairs) if isinstance(pairs, tf.data.Dataset) else pairs
