"""Loss weights that training can tune."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

import keras
import tensorflow as tf

from bilevelmorph.errors import fail, one_of, positive


class LossWeights(Mapping[str, tf.Tensor]):
    """Positive weights by name, tuned through their logarithms.

    Args:
        start: Initial values.
        frozen: Names of weights that stay fixed. At least one should, because Adam is
            invariant to the scale of the objective.

    >>> weights = LossWeights({"similarity": 1.0, "regularity": 0.1}, frozen=["similarity"])
    >>> len(weights.variables), round(float(weights["regularity"]), 6)
    (1, 0.1)
    """

    def __init__(self, start: Mapping[str, float], frozen: Collection[str] = ()) -> None:
        if not start:
            raise fail("loss weights", "none", "at least one")
        for name in frozen:
            one_of("freeze", name, tuple(start))
        self.frozen = tuple(frozen)
        self._logs = {
            name: keras.Variable(
                math.log(positive(f"weight of {name}", value)), dtype="float32", name=f"log_{name}"
            )
            for name, value in start.items()
        }
        if not self.variables:
            raise fail("freeze", "every weight", "at least one left to tune")

    @property
    def variables(self) -> list[keras.Variable]:
        """Logarithms of the weights that are tuned."""
        return [v for name, v in self._logs.items() if name not in self.frozen]

    @property
    def names(self) -> list[str]:
        """Names of `variables`."""
        return [name for name in self._logs if name not in self.frozen]

    def numbers(self) -> dict[str, float]:
        """The present values of all weights."""
        return {name: float(tf.exp(v.value)) for name, v in self._logs.items()}

    def __getitem__(self, name: str) -> tf.Tensor:
        return tf.exp(self._logs[name].value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._logs)

    def __len__(self) -> int:
        return len(self._logs)
