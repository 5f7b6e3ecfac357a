"""How instance optimisation is tuned to a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bilevelmorph.config.budget_config import seconds_of
from bilevelmorph.config.codec import Table
from bilevelmorph.errors import fail, positive


@dataclass(frozen=True)
class DescentTuningConfig(Table):
    """Budget, criterion and searcher of a tuning of instance optimisation.

    Raises:
        InputError: A number is out of range.

    >>> DescentTuningConfig(budget="30m").seconds
    1800.0
    """

    budget: str = "30m"
    """Total time, such as 45m or 2h."""
    searcher: Literal["bilevel", "random", "bayesian"] = "random"
    """bilevel: hypergradients through the descent; random and bayesian: those of Keras Tuner."""
    criterion: Literal["dice", "landmarks", "label-free"] = "dice"
    """What the pairs are scored by."""
    tune_pairs: int = 8
    """Number of validation pairs to tune on, starting with the first; 0 for all."""
    trials: int = 0
    """Most settings that are scored; 0 for as many as the budget allows. If given, and the budget lasts,
    the result depends on the seed alone."""
    price: float = 1e-4
    """Subtracted from the score for each iteration at full resolution, so that iterations must pay."""
    outer_lr: float = 0.1
    """bilevel: learning rate of the logarithms of the settings."""
    hypergradient: Literal["reverse", "forward"] = "reverse"
    """bilevel: direction of differentiation; reverse is faster, forward takes less memory."""
    horizon: int = 10
    """bilevel: number of last iterations that are differentiated at each level; 0 for all."""
    seed: int = 0
    """Random seed."""

    def __post_init__(self) -> None:
        seconds_of(self.budget)
        positive("outer_lr", self.outer_lr)
        positive("price", self.price, zero=True)
        for name in ("tune_pairs", "trials", "horizon", "seed"):
            if getattr(self, name) < 0:
                raise fail(name, getattr(self, name), "a whole number of at least 0")

    @property
    def seconds(self) -> float:
        """The budget in seconds."""
        return seconds_of(self.budget)
