"""Variables above the network's weights, and what moves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.bilevel import Strategy
from bilevelmorph.checks import positive
from bilevelmorph.networks.fields import Fields

Criterion = Callable[[Fields, Mapping[str, tf.Tensor]], tf.Tensor]


def upper_adam(rate: Any) -> keras.optimizers.Adam:
    """Adam for loss weights, whose gradients are smaller than what Keras adds to their scale.

    >>> upper_adam(0.02).epsilon
    1e-12
    """
    return keras.optimizers.Adam(rate, epsilon=1e-12)


class Level:
    """One of the problems above the lowest: loss weights, architecture.

    Args:
        name: Of the level.
        variables: That it moves.
        criterion: What they are moved for, of the fields of held-out pairs and these.
        optimizer: Of the variables.
        strategy: How the network's training is differentiated; None where the
            criterion is simply descended.
        every: Lower steps for each step of this level.
        warmup: Lower steps before the first.
        names: Of the variables; their numbers by default.
        needs: Entries of a held-out batch beside the images.
        augmented: Whether held-out pairs are varied as training pairs are: features
            can learn forty pairs by heart, a handful of loss weights cannot.

    >>> variable = keras.Variable(0.0)
    >>> level = Level("x", [variable], None, keras.optimizers.SGD(0.1), None, every=2, warmup=3)
    >>> [k for k in range(10) if level.is_due(k)], level.turn(6)
    ([4, 6, 8], 1)
    >>> level.update([tf.constant(1.0)], tf.constant(False))
    >>> float(variable)
    0.0
    """

    def __init__(
        self,
        name: str,
        variables: Sequence[Any],
        criterion: Criterion,
        optimizer: keras.optimizers.Optimizer,
        strategy: Strategy | None,
        every: int = 5,
        warmup: int = 0,
        names: Sequence[str] = (),
        needs: Sequence[str] = (),
        augmented: bool = False,
    ) -> None:
        self.name, self.variables = name, list(variables)
        self.criterion, self.optimizer, self.strategy = criterion, optimizer, strategy
        self.every = int(positive("--upper-every", every, whole=True))
        self.warmup = int(positive("--warmup", warmup, zero=True, whole=True))
        self.names = list(names) or [str(i) for i in range(len(self.variables))]
        self.needs, self.augmented = tuple(needs), augmented
        optimizer.build(self.variables)

    @property
    def column(self) -> str:
        """Of its criterion in a log."""
        return "upper" if self.name == "weights" else self.name

    @property
    def skips(self) -> str:
        """Of the share of its steps that were not taken, in a log."""
        return "skipped" if self.name == "weights" else f"{self.name}_skipped"

    @property
    def state_variables(self) -> list[Any]:
        """What a checkpoint has to hold of it."""
        kept = self.strategy.variables if self.strategy else ()
        return [*self.optimizer.variables, *self.variables, *kept]

    def is_due(self, step: int) -> bool:
        """Whether it moves after this lower step, counted from 0."""
        return step >= self.warmup and (step - self.warmup) % self.every == self.every - 1

    def turn(self, step: int) -> int:
        """How many times it has moved before this lower step."""
        return (step - self.warmup) // self.every

    def named(self, values: Sequence[tf.Tensor]) -> list[tuple[str, tf.Tensor]]:
        """A value a variable with the variable's name."""
        return list(zip(self.names, values, strict=True))

    def update(self, gradients: Sequence[tf.Tensor], good: tf.Tensor) -> None:
        """Move the variables; where the gradients are no good nothing moves, nor do Adam's averages."""
        touched = [v.value for v in (*self.optimizer.variables, *self.variables)]
        kept = [tf.identity(v) for v in touched]
        self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True))
        # A zero gradient would still move Adam, so the values are put back.
        for variable, before in zip(touched, kept, strict=True):
            variable.assign(tf.where(good, variable, before))
