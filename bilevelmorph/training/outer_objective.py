"""Objectives of outer problems: criteria on pairs that the network is not trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import tensorflow as tf

from bilevelmorph.losses.dice import SoftDice
from bilevelmorph.losses.energy import Energy
from bilevelmorph.losses.local_ncc import LocalNCC
from bilevelmorph.losses.regularity import folding
from bilevelmorph.networks.deformation import Deformation
from bilevelmorph.ops.grid import crop, spatial_shape
from bilevelmorph.ops.warping import warp

FOLDING_WEIGHT = 10.0


class OuterObjective(ABC):
    """A criterion on outer pairs, smaller is better; it must not depend directly on the tuned weights.

    Subclasses define `__call__`, and `needs` if they use more than the images.

    >>> class MeanDisplacement(OuterObjective):
    ...     def __call__(self, deformation, batch):
    ...         return tf.reduce_mean(tf.abs(deformation.displacement))
    >>> still = Deformation(tf.zeros([1, 4, 4, 2]), [], [])
    >>> float(MeanDisplacement()(still, {}))
    0.0
    """

    # Entries of a batch needed besides the images.
    needs: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, deformation: Deformation, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Compute the criterion for a batch.

        Args:
            deformation: Output of the network for this batch.
            batch: ``moving`` and ``fixed``, ``[B, *S, C]``, and the entries in `needs`:
                one-hot label maps ``[B, *S, K]``, or landmarks in voxels ``[B, P, N]``.

        Returns:
            Scalar.
        """


class DiceObjective(OuterObjective):
    """Soft Dice of warped label maps.

    Args:
        guarded: Add a folding penalty of constant weight and use squares in the
            denominator, see `SoftDice`.

    >>> blob = tf.cast(tf.reshape(tf.range(16) > 7, [1, 4, 4, 1]), tf.float32)
    >>> batch = {"moving": blob, "fixed": blob, "moving_labels": blob, "fixed_labels": blob}
    >>> still = Deformation(tf.zeros([1, 4, 4, 2]), [], [])
    >>> round(float(DiceObjective()(still, batch)), 4)
    0.0
    """

    needs = ("moving_labels", "fixed_labels")

    def __init__(self, guarded: bool = False) -> None:
        self.guarded = guarded

    def __call__(self, deformation: Deformation, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        displacement = crop(deformation.displacement, spatial_shape(batch["fixed"]))
        moved = warp(batch["moving_labels"], displacement, stop_image_gradient=True)
        guard = FOLDING_WEIGHT * folding(displacement) if self.guarded else 0.0
        return SoftDice(squares=self.guarded)(batch["fixed_labels"], moved) + guard


class LandmarkObjective(OuterObjective):
    """Mean distance between corresponding landmarks, in voxels.

    >>> batch = {"fixed": tf.zeros([1, 8, 8, 1])}
    >>> batch |= {"moving_points": tf.constant([[[3.0, 4.0]]]), "fixed_points": tf.constant([[[2.0, 3.0]]])}
    >>> float(LandmarkObjective()(Deformation(tf.ones([1, 8, 8, 2]), [], []), batch))
    0.0
    """

    needs = ("moving_points", "fixed_points")

    def __call__(self, deformation: Deformation, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        displacement = crop(deformation.displacement, spatial_shape(batch["fixed"]))
        return landmark_distance(displacement, batch["moving_points"], batch["fixed_points"])


class LabelFreeObjective(OuterObjective):
    """Local normalised cross-correlation and a folding penalty with constant weights; no annotations.

    Args:
        window: Window width of the correlation, voxels.

    >>> image = tf.random.stateless_uniform([1, 8, 8, 1], [0, 1])
    >>> still = Deformation(tf.zeros([1, 8, 8, 2]), [], [])
    >>> round(float(LabelFreeObjective(5)(still, {"moving": image, "fixed": image})), 2)
    0.0
    """

    def __init__(self, window: int = 9) -> None:
        self.similarity = LocalNCC(window)

    def __call__(self, deformation: Deformation, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        displacement = crop(deformation.displacement, spatial_shape(batch["fixed"]))
        moved = warp(batch["moving"], displacement, stop_image_gradient=True)
        return self.similarity(batch["fixed"], moved) + FOLDING_WEIGHT * folding(displacement)


class WeightedObjective(OuterObjective):
    """The training objective itself, including its weights, as in the papers' code.

    Included for comparison only: with it, all weights drift at the same rate instead of being tuned.

    Args:
        energy: The training objective.

    Reference: Liu et al., TPAMI 2021.

    >>> image = tf.ones([1, 4, 4, 1])
    >>> objective = WeightedObjective(Energy("mse", weights={"similarity": 1.0}))
    >>> float(objective(Deformation(tf.zeros([1, 4, 4, 2]), [], []), {"moving": image, "fixed": image}))
    0.0
    """

    def __init__(self, energy: Energy) -> None:
        self.energy = energy

    def __call__(self, deformation: Deformation, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return self.energy.total(self.energy.terms(deformation, batch["moving"], batch["fixed"]))


def landmark_distance(displacement: tf.Tensor, moving: tf.Tensor, fixed: tf.Tensor) -> tf.Tensor:
    """Mean distance between the mapped fixed landmarks and their moving counterparts.

    Args:
        displacement: ``[B, *S, N]`` voxels.
        moving, fixed: ``[B, P, N]`` voxels.

    Returns:
        Scalar, voxels.

    >>> u = tf.ones([1, 8, 8, 2])
    >>> float(landmark_distance(u, tf.constant([[[3.0, 4.0]]]), tf.constant([[[2.0, 3.0]]])))
    0.0
    """
    n = fixed.shape[-1]
    # The points form an image of one row, so that warping the field by `at - offset` samples it at them.
    ones = [1] * (n - 1)
    at = tf.reshape(fixed, [tf.shape(fixed)[0], *ones, tf.shape(fixed)[1], n])
    mesh = tf.cast(tf.range(tf.shape(fixed)[1]), at.dtype)
    offset = tf.stack([*[tf.zeros_like(mesh)] * (n - 1), mesh], -1)
    sent = at + warp(displacement, at - offset)
    partner = tf.reshape(moving, tf.shape(at))
    squared = tf.reduce_sum(tf.square(sent - partner), -1)
    # The square root has no finite derivative at zero.
    safe = tf.where(squared > 0, squared, tf.ones_like(squared))
    return tf.reduce_mean(tf.where(squared > 0, tf.sqrt(safe), tf.zeros_like(squared)))
