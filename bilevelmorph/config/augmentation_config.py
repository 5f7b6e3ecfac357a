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
    augment_contrast: float = 0.0
    """Probability that an image gets a random contrast; the objective compares it without."""
    augment_flip: float = 0.0
    """Probability that a pair is mirrored, for each axis."""
    augment_crop: bool = False
    """Crop scans of --mix larger than --shape at random places; by default at their centres."""
