"""Training of a network, alone or with outer problems."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bilevelmorph.bilevel import Adam
from bilevelmorph.bilevel.hypergradient import CONVERGED, MEANINGS
from bilevelmorph.errors import fail, positive
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.ops.xla import compile_step
from bilevelmorph.training.augmentation import Augmentation
from bilevelmorph.training.divergence_error import DivergenceError
from bilevelmorph.training.objective import Objective
from bilevelmorph.training.outer_problem import OuterProblem
from bilevelmorph.training.pair_provider import PairProvider, as_provider

Tensors = dict[str, tf.Tensor]
Batch = Mapping[str, tf.Tensor]


class Trainer:
    """A custom training loop over seeded pairs, with `compile`, `fit` and callbacks as in Keras.

    Plain, bilevel and triple-level training differ only in the outer problems that the
    trainer is given: none; loss weights or features; architecture as well. The pair and
    the augmentation of step k depend only on k and the seed, so a run that is stopped and
    resumed gives bitwise the same result.

    Args:
        network: The network to train.
        loss: The training objective, such as an `Energy`.
        problems: Outer problems, each with its variables, pairs, method and schedule.
        augmentation: Augmentation of the pairs.
        seed: Random seed of augmentation and random layers.

    >>> from bilevelmorph.losses.energy import Energy
    >>> from bilevelmorph.networks import PropagationNetwork
    >>> images = tf.random.stateless_uniform([4, 16, 16, 1], [0, 1])
    >>> pairs = tf.data.Dataset.from_tensor_slices({"moving": images, "fixed": images[::-1]}).batch(2)
    >>> network = PropagationNetwork(2, [2], [[], [4]], matching=[4], regularization=[4])
    >>> trainer = Trainer(network, Energy("mse", weights={"similarity": 1.0, "regularity": 0.01}))
    >>> history = trainer.compile(keras.optimizers.Adam(1e-3)).fit(pairs, epochs=2, steps_per_epoch=3)
    >>> len(history.history["loss"])
    2
    """

    def __init__(
        self,
        network: RegistrationNetwork,
        loss: Objective,
        problems: Sequence[OuterProblem] = (),
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.network, self.loss, self.problems = network, loss, list(problems)
        self.augmentation = augmentation or Augmentation()
        self.seed = seed
        self.optimizer: Any = None
        network.build()

    def compile(
        self, optimizer: keras.optimizers.Optimizer, alternate: int = 0, xla: str = "auto"
    ) -> Trainer:
        """Set the optimiser and compile the training steps.

        Args:
            optimizer: A Keras optimizer; must be Adam if an outer problem differentiates
                through its steps. If it keeps a moving average of the weights
                (`use_ema`), the network holds this average between epochs, that is
                in callbacks at the end of an epoch and after `fit`, and outer
                problems are evaluated with it.
            alternate: Train the features for this many steps, then the deformation for
                as many, each with an optimizer like this one; 0 trains both at once.
            xla: Which functions XLA compiles, see `bilevelmorph.devices.using_xla`.

        Returns:
            The trainer itself.
        """
        self.alternate = int(positive("alternate", alternate, zero=True, whole=True))
        claimed = {id(v) for problem in self.problems for v in problem.claimed}
        trained = [v for v in self.network.trainable_variables if id(v) not in claimed]
        self.variables = [*trained, *self.loss.variables]
        groups = self.network.variable_groups if alternate else [self.variables]
        if alternate and len(groups) < 2:
            raise fail("alternate", type(self.network).__name__, "a network with features, e.g. propagation")
        if alternate and (self.problems or self.loss.variables):
            raise fail("alternate", "outer problems or a trainable loss", "plain training of the network")
        self.optimizer = optimizer
        # A configuration, not the optimizer itself, because each needs moments of its own.
        config = optimizer.get_config()
        self._optimizers = [optimizer, *(type(optimizer).from_config(config) for _ in groups[1:])]
        for one, group in zip(self._optimizers, groups, strict=True):
            one.build(group)
        parts = self._parts = list(zip(self._optimizers, groups, strict=True))
        self.steps = [compile_step(partial(self._train_step, one, group), xla) for one, group in parts]
        for problem in self.problems:
            problem.build(self)
        self.outer_steps = {p.name: compile_step(partial(p.step, self), xla) for p in self.problems}
        return self

    def fit(
        self,
        pairs: PairProvider | tf.data.Dataset,
        epochs: int = 1,
        steps_per_epoch: int = 100,
        batch_size: int = 1,
        callbacks: Iterable[keras.callbacks.Callback] = (),
        initial_epoch: int = 0,
    ) -> keras.callbacks.History:
        """Train the network and solve the outer problems.

        Args:
            pairs: A `PairProvider`, or a dataset of batches ``{"moving": [B, *S, C],
                "fixed": ...}``, which is repeated as often as needed.
            epochs: Total number of epochs, including those already done.
            steps_per_epoch: Training steps per epoch.
            batch_size: Pairs per step; ignored for a dataset of batches.
            callbacks: Keras callbacks; setting `stop_training` of the network ends training.
            initial_epoch: Epochs already done.

        Returns:
            Keras's history: for each epoch the means of the loss and of all unweighted
            terms, the values of the outer problems, and the time in seconds.

        Raises:
            DivergenceError: A term or a variable is no longer finite; the message names it.
        """
        self._check_compiled()
        calls = keras.callbacks.CallbackList(list(callbacks), add_history=True, model=self.network)
        self.network.stop_training = False
        calls.on_train_begin()
        for number in range(initial_epoch, epochs):
            calls.on_epoch_begin(number)
            values = self._epoch(as_provider(pairs), number, steps_per_epoch, batch_size, calls)
            calls.on_epoch_end(number, values)
            if self.network.stop_training:
                break
        calls.on_train_end()
        for problem in self.problems:
            problem.finish()
        return self.network.history

    def _check_compiled(self) -> None:
        if self.optimizer is None:
            raise fail("fit", "a trainer that is not compiled", "trainer.compile(optimizer, ...) before it")

    def _epoch(
        self, pairs: PairProvider, number: int, steps: int, batch_size: int, calls: Any
    ) -> dict[str, float]:
        began, first = time.perf_counter(), number * steps
        sums: dict[str, list[float]] = {}
        self._exchange_begun()
        outer = {p.name: self._outer_batches(p, first, steps, batch_size) for p in self.problems}
        for done, (step, batch) in enumerate(pairs.dataset(first, first + steps, batch_size), 1):
            calls.on_train_batch_begin(done - 1)
            turn = (first + done - 1) // self.alternate % len(self.steps) if self.alternate else 0
            terms = self.checked(self.steps[turn](step, batch), first + done, number)
            for problem in self.problems:
                if problem.is_due(first + done - 1):
                    held = next(outer[problem.name])[1]
                    terms |= self._outer_step(problem, step, batch, held, first + done)
            for key, value in terms.items():
                sums.setdefault(key, []).append(value)
            calls.on_train_batch_end(done - 1, terms)
        self._exchange_begun()
        means = {k: float(np.mean(v)) for k, v in sums.items()}
        return {**means, **self.values(), "seconds": time.perf_counter() - began}

    @staticmethod
    def _outer_batches(problem: OuterProblem, first: int, steps: int, batch_size: int) -> Iterator[Any]:
        """The batches for a problem's steps in an epoch, numbered by the problem's own steps."""
        turns = [k for k in range(first, first + steps) if problem.is_due(k)]
        if not turns:
            return iter(())
        start = problem.turn(turns[0])
        return iter(problem.pairs.dataset(start, start + len(turns), batch_size))

    def _outer_step(
        self, problem: OuterProblem, step: tf.Tensor, batch: Any, outer: Any, number: int
    ) -> dict[str, float]:
        missing = [name for name in problem.needs if name not in outer]
        if missing:
            raise fail("outer_loss", f"pairs without {missing[0]}", "pairs with these entries")
        values = {k: float(v) for k, v in self.outer_steps[problem.name](step, batch, outer).items()}
        status = int(values.pop("status"))
        if not np.isfinite(values["upper"]):
            raise DivergenceError(f"the outer loss is {MEANINGS[status]} at step {number}")
        skipped = float(status != CONVERGED)
        problem.record({"step": number, **values, **self.values(), "skipped": skipped})
        return {problem.loss_column: values["upper"], problem.skipped_column: skipped}

    def values(self) -> dict[str, float]:
        """Values of the outer problems to log, such as loss weights and entropy."""
        return {k: v for problem in self.problems for k, v in problem.values().items()}

    def seconds_per_step(
        self, pairs: PairProvider | tf.data.Dataset, batch_size: int = 1, rounds: int = 3
    ) -> float:
        """Measure the time of a training step, including its share of the outer problems.

        All variables are restored afterwards.

        Args:
            pairs, batch_size: As in `fit`.
            rounds: Number of repetitions, of which the fastest counts.

        Returns:
            Seconds.
        """
        self._check_compiled()
        # Some variables are in both lists; assigning them twice does no harm.
        touched = [*self.network.weights, *self.state_variables]
        kept = [np.array(v) for v in touched]
        step, batch = next(iter(as_provider(pairs).dataset(0, 1, batch_size)))
        jobs = [(1, partial(self.steps[0], step, batch))]
        for problem in self.problems:
            _, outer = next(iter(problem.pairs.dataset(0, 1, batch_size)))
            jobs.append((problem.every, partial(self.outer_steps[problem.name], step, batch, outer)))
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

    # Parts of a training step, also used by outer problems.

    def _train_step(self, optimizer: Any, variables: list[Any], step: tf.Tensor, batch: Batch) -> Tensors:
        """Take one optimizer step for these variables."""
        batch = self.prepare(step, batch)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            loss, terms = self.objective(batch)
        # If a gradient is missing, Keras assigns the moving averages to the wrong variables.
        gradients = tape.gradient(loss, [v.value for v in variables], unconnected_gradients="zero")
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return {"loss": loss, **terms}

    def prepare(self, step: tf.Tensor, batch: Batch) -> Tensors:
        """Sample the random state of this step and augment the batch, both determined by its index."""
        return self.augmentation(batch, self.sample(step))

    def sample(self, step: tf.Tensor) -> tf.Tensor:
        """Set the random state of network and outer problems from the step index; return the seed ``[2]``."""
        seed = tf.stack([self.seed, tf.cast(step, tf.int32)])
        for generator in self.network.seed_generators:
            generator.state.assign(tf.cast(seed, generator.state.dtype))
        for problem in self.problems:
            problem.sample(seed)
        return seed

    def objective(self, batch: Batch) -> tuple[tf.Tensor, Tensors]:
        """The weighted sum of the terms for a batch, and the unweighted terms."""
        for problem in self.problems:
            problem.enter_inner()
        terms = weighted = self.loss.evaluate(self.network, batch, training=True)
        for problem in self.problems:
            weighted = problem.reweight(weighted)
        return self.loss.total(weighted), terms

    def inner_optimizer(self) -> tuple[Adam, list[tf.Tensor]]:
        """The next step of the network's optimizer as a pure function, and its state."""
        return Adam.of_keras(self.optimizer, self.variables)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the network hold the moving averages of its weights, if any, within the block."""
        self._exchange_averages(self._optimizers)
        try:
            yield
        finally:
            self._exchange_averages(self._optimizers)

    def _exchange_averages(self, optimizers: Sequence[Any]) -> None:
        """Swap the weights with their moving averages in these optimizers; a second call undoes the first."""
        for one, group in self._parts:
            if one in optimizers and one.use_ema:
                for weight, average in zip(group, one._model_variables_moving_average, strict=True):
                    kept = tf.identity(weight.value)
                    weight.assign(average.value)
                    average.assign(kept)

    def _exchange_begun(self) -> None:
        # Before its first step an optimizer has no averages yet.
        self._exchange_averages([one for one in self._optimizers if int(one.iterations) > 0])

    @property
    def state_variables(self) -> list[Any]:
        """Variables that a checkpoint must contain besides the network's weights."""
        inner = [v for one in self._optimizers for v in one.variables]
        outer = [v for problem in self.problems for v in problem.state_variables]
        return [*inner, *outer, *self.loss.state_variables]

    def checked(self, terms: Tensors, step: int, epoch: int) -> dict[str, float]:
        """Convert the terms to numbers.

        Raises:
            DivergenceError: A term is not finite.
        """
        numbers = {k: float(v) for k, v in terms.items()}
        bad = [k for k, v in numbers.items() if not np.isfinite(v)]
        if bad:
            suspects = [s for s in (p.suspect() for p in self.problems) if s]
            name = next((b for b in bad if b != "loss"), suspects[0] if suspects else "loss")
            raise DivergenceError(f"{name} is no longer finite at step {step} (epoch {epoch + 1})")
        return numbers
