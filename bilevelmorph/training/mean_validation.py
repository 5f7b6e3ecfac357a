"""Validation on several folders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.training.validation import Score


class MeanValidation:
    """Scores a network on the validation pairs of several folders.

    Args:
        parts: Name and scoring of each folder.

    >>> class Fixed:
    ...     def __init__(self, dice):
    ...         self.dice = dice
    ...
    ...     def __call__(self, network):
    ...         return {"val_dice": self.dice, "val_folding": 0.0}
    >>> MeanValidation([("brains", Fixed(0.7)), ("mice", Fixed(0.8))])(None)
    {'val_dice_brains': 0.7, 'val_dice_mice': 0.8, 'val_dice': 0.75, 'val_folding': 0.0}
    """

    def __init__(self, parts: Sequence[tuple[str, Score]]) -> None:
        self.parts = list(parts)

    def __call__(self, network: RegistrationNetwork) -> dict[str, float]:
        """Compute the mean over folders of Dice and folding, and the Dice of each folder."""
        scores = {name: score(network) for name, score in self.parts}
        single = {f"val_dice_{name}": values["val_dice"] for name, values in scores.items()}
        mean = {k: float(np.mean([v[k] for v in scores.values()])) for k in ("val_dice", "val_folding")}
        return {**single, **mean}
