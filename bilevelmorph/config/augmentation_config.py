"""Augmentation of training pairs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AugmentationConfig:
    """Random augmentation of training pairs.

    >>> AugmentationConfig().augment_affine
    0.0
    """

    augment_affine: float = 0.0
    """Standard deviation of the entries of a random linear map."""
    augment_shift: float = 0.0
    """Standard deviation of a random shift, in voxels."""
    augment_intensity: float = 0.0
    """Standard deviation of the logarithm of a random gamma."""
