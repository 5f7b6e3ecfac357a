"""Validation during a training run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ValidationConfig:
    """Validation on pairs of --data.

    >>> ValidationConfig().val_pairs
    40
    """

    val_pairs: int = 40
    """Number of validation pairs; 0 for none."""
    val_every: int = 1
    """Number of epochs between validations."""
