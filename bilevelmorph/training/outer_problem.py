"""The base class of outer problems, which are solved while a network is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from bilevelmorph.bilevel import HypergradientMethod
from bilevelmorph.errors import positive
from bilevelmorph.training.pair_provider import PairProvider, as_provider

if TYPE_CHECKING:
    from bilevelmorph.training.trainer import Trainer

Batch = Mapping[str, tf.Tensor]


def outer_adam(rate: Any) -> keras.optimizers.Adam:
    """Build Adam for loss weights, whose gradients may be smaller than Keras's default epsilon.

    >>> outer_adam(0.02).epsilon
    1e-12
    """
    return keras.optimizers.Adam(rate, epsilon=1e-12)


class OuterProblem(ABC):
    """Variables that a `Trainer` optimises on separate pairs, alternating with the network's weights.

    Subclasses define `step`; the defaults of the other methods suit problems that do
    not change the inner training.

    Args:
        name: Name of the problem, for logs.
        variables: Variables to optimise.
        pairs: Pairs of the outer objective, which are not used to train the network.
        optimizer: Optimizer of the variables; None for one like the network's.
        every: Number of training steps per step of this problem.
        warmup: Number of training steps before the problem starts.
        names: Names of the variables, for logs; their indices by default.

    >>> class Shrink(OuterProblem):
    ...     def step(self, trainer, step, batch, outer):
    ...         return self.update(self.variables, tf.constant(0.0), tf.constant(0))
    >>> variable = keras.Variable(2.0)
    >>> problem = Shrink("shrink", [variable], None, keras.optimizers.SGD(0.1), every=2, warmup=3)
    >>> [k for k in range(10) if problem.is_due(k)], problem.turn(6)
    ([4, 6, 8], 1)
    """

    # How inner training is differentiated; None if the problem does not need it.
    method: HypergradientMethod | None = None
    # Entries of its batches needed besides the images.
    needs: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        variables: Sequence[Any],
        pairs: PairProvider | tf.data.Dataset | None,
        optimizer: keras.optimizers.Optimizer | None = None,
        every: int = 5,
        warmup: int = 0,
        names: Sequence[str] = (),
    ) -> None:
        self.name, self.variables = name, list(variables)
        self.pairs: Any = as_provider(pairs) if pairs is not None else None
        self.optimizer: Any = optimizer
        self.every = int(positive("outer_every", every, whole=True))
        self.warmup = int(positive("bilevel_warmup", warmup, zero=True, whole=True))
        self.names = list(names) or [str(i) for i in range(len(self.variables))]
        self.trajectory: list[dict[str, float]] = []

    def build(self, trainer: Trainer) -> None:
        """Create the state that the problem keeps between steps; called when the trainer is compiled."""
        if self.optimizer is None:
            like = trainer.optimizer
            self.optimizer = type(like).from_config(like.get_config())
        if not self.optimizer.built:
            self.optimizer.build(self.variables)
        if self.method is not None:
            self.method.build([v.value for v in trainer.variables])

    @abstractmethod
    def step(self, trainer: Trainer, step: tf.Tensor, batch: Batch, outer: Batch) -> dict[str, tf.Tensor]:
        """Take one step; called inside a `tf.function`.

        Args:
            trainer: Trainer of the network.
            step: Index of the last training step, scalar.
            batch: Batch of that training step.
            outer: Batch of this problem's own pairs.

        Returns:
            Scalars to log, including ``upper`` (the outer loss) and ``status``.
        """

    # How inner training depends on the problem.

    def sample(self, seed: tf.Tensor) -> None:  # noqa: B027  (most problems sample nothing)
        """Sample the random state of the network for a step, using only the step's seed ``[2]``."""

    def enter_inner(self) -> None:  # noqa: B027
        """Set the network's state before the inner loss is evaluated."""

    def reweight(self, terms: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Multiply the terms of the inner objective by additional weights."""
        return terms

    @property
    def claimed(self) -> list[Any]:
        """Weights of the network that this problem optimises instead of inner training."""
        return []

    def finish(self) -> None:  # noqa: B027
        """Replace the random state of the network by the final decisions, after the last step."""

    # Schedule and bookkeeping.

    def is_due(self, step: int) -> bool:
        """Whether the problem takes a step after this training step, counted from 0."""
        return step >= self.warmup and (step - self.warmup) % self.every == self.every - 1

    def turn(self, step: int) -> int:
        """Number of steps that the problem has taken before this training step."""
        return (step - self.warmup) // self.every

    @property
    def state_variables(self) -> list[Any]:
        """Variables of the problem that a checkpoint must contain."""
        kept = self.method.variables if self.method else ()
        return [*self.optimizer.variables, *self.variables, *kept]

    @property
    def loss_column(self) -> str:
        """Log column of the outer loss."""
        return self.name

    @property
    def skipped_column(self) -> str:
        """Log column of the fraction of skipped steps."""
        return f"{self.name}_skipped"

    def values(self) -> dict[str, float]:
        """Values to log at the end of an epoch."""
        return {}

    def record(self, row: dict[str, float]) -> None:
        """Append a row to the problem's trajectory."""
        self.trajectory.append(row)

    def suspect(self) -> str | None:
        """Name of a variable that is no longer finite, if any."""
        return None

    def named(self, values: Sequence[tf.Tensor]) -> list[tuple[str, tf.Tensor]]:
        """Pair each value with the name of its variable."""
        return list(zip(self.names, values, strict=True))

    def update(
        self, gradients: Sequence[tf.Tensor], loss: tf.Tensor, status: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Update the variables; if `status` is not 0, neither they nor the optimizer's moments change.

        Returns:
            ``upper``, ``status`` and the norms of the gradients, for the log.
        """
        touched = [v.value for v in (*self.optimizer.variables, *self.variables)]
        kept = [tf.identity(v) for v in touched]
        self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True))
        # Adam would still move with a zero gradient, so the old values are restored.
        for variable, before in zip(touched, kept, strict=True):
            variable.assign(tf.where(status == 0, variable, before))
        slopes = {f"slope_{n}": tf.norm(g) if g.shape.rank else g for n, g in self.named(gradients)}
        return {"upper": loss, "status": status, **slopes}
