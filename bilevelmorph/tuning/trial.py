"""Settings that were scored."""

from __future__ import annotations

from typing import NamedTuple

from bilevelmorph.config.descent_config import DescentConfig


class Trial(NamedTuple):
    """One settings of the descent and its score.

    Attributes:
        seconds: Time since the beginning at which the score was known.
        score: Mean score of the pairs less the price of the iterations; more is better.
        settings: The settings.

    >>> Trial(12.0, 0.8, DescentConfig()).settings.levels
    (2, 1)
    """

    seconds: float
    score: float
    settings: DescentConfig
