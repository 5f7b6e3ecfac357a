"""What instance optimisation did at one level."""

from __future__ import annotations

from typing import NamedTuple


class LevelReport(NamedTuple):
    """What happened at one level.

    Attributes:
        level: Factor by which its grid is coarser.
        iterations: Number of iterations until it gained no more.
        before, after: The objective at the first and at the best iteration.
        seconds: Duration.
        broken: Name of the term that was not finite and stopped the level, or an empty string.

    >>> LevelReport(2, 60, 0.8, 0.7, 1.5).after
    0.7
    """

    level: int
    iterations: int
    before: float
    after: float
    seconds: float
    broken: str = ""

    @property
    def text(self) -> str:
        """The report in one line."""
        change = f"objective {self.before:.4f} to {self.after:.4f}"
        return f"1/{self.level} resolution: {self.iterations} iterations, {change}, {self.seconds:.1f} s"
