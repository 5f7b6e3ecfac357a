"""What the loss weights are tuned for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from bilevelmorph.checks import one_of
from bilevelmorph.losses.dice import SoftDice
from bilevelmorph.losses.local_ncc import LocalNCC
from bilevelmorph.losses.regularity import folding
from bilevelmorph.networks.fields import Fields
from bilevelmorph.ops.grid import crop, spatial_shape
from bilevelmorph.ops.warping import warp

UPPER = ("dice", "landmarks", "label-free", "weighted")
FOLDING_WEIGHT = 10.0


class UpperObjective:
    """A criterion on validation pairs that does not contain the weights it tunes.

    Args:
        kind: ``"dice"`` of warped labels; ``"landmarks"``, their mean distance in
            voxels; ``"label-free"``, local correlation and a folding penalty with
            constant weights; or ``"weighted"``, the weighted training objective
            itself, as the papers' code has it: there the weights drift, all at one
            speed, instead of being tuned, which is what it is kept here to show.
        width: Window of the correlation in voxels.
        weighted: The training objective, for ``"weighted"``.
        guarded: Dice, too, comes with a penalty on folding, of constant weight, and
            with squares below the line, see `SoftDice`.

    Reference: Liu et al., TPAMI 2021.

    >>> UpperObjective("label-free").needs
    ()
    """

    def __init__(
        self,
        kind: str = "dice",
        width: int = 9,
        weighted: Callable[[Fields, Mapping[str, tf.Tensor]], tf.Tensor] | None = None,
        guarded: bool = False,
    ) -> None:
        self.kind = one_of("--upper", kind, UPPER)
        self.similarity = LocalNCC(width)
        self.weighted, self.guarded = weighted, guarded

    @property
    def needs(self) -> tuple[str, ...]:
        """Entries of a batch beside the images."""
        sides = {"dice": "labels", "landmarks": "points"}.get(self.kind)
        return (f"moving_{sides}", f"fixed_{sides}") if sides else ()

    def __call__(self, fields: Fields, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The criterion for a batch, smaller is better.

        Args:
            fields: Of the network for this batch.
            batch: ``moving`` and ``fixed``, ``[B, *S, C]``, and `needs`: one-hot
                ``[B, *S, K]``, or points in voxels ``[B, P, N]``.

        Returns:
            Scalar.
        """
        displacement = crop(fields.displacement, spatial_shape(batch["fixed"]))
        if self.kind == "dice":
            moved = warp(batch["moving_labels"], displacement, frozen=True)
            guard = FOLDING_WEIGHT * folding(displacement) if self.guarded else 0.0
            return SoftDice(squares=self.guarded)(batch["fixed_labels"], moved) + guard
        if self.kind == "landmarks":
            return landmark_distance(displacement, batch["moving_points"], batch["fixed_points"])
        if self.kind == "weighted":
            if self.weighted is None:
                raise ValueError("an upper objective of kind 'weighted' needs the training objective")
            return self.weighted(fields, batch)
        moved = warp(batch["moving"], displacement, frozen=True)
        return self.similarity(batch["fixed"], moved) + FOLDING_WEIGHT * folding(displacement)


def landmark_distance(displacement: tf.Tensor, moving: tf.Tensor, fixed: tf.Tensor) -> tf.Tensor:
    """Mean distance between where fixed points are sent and their moving partners.

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
    # One row of points as an image of positions: warping the field there reads it at the points.
    ones = [1] * (n - 1)
    at = tf.reshape(fixed, [tf.shape(fixed)[0], *ones, tf.shape(fixed)[1], n])
    mesh = tf.cast(tf.range(tf.shape(fixed)[1]), at.dtype)
    offset = tf.stack([*[tf.zeros_like(mesh)] * (n - 1), mesh], -1)
    sent = at + warp(displacement, at - offset)
    partner = tf.reshape(moving, tf.shape(at))
    squared = tf.reduce_sum(tf.square(sent - partner), -1)
    # The square root has no slope at zero.
    safe = tf.where(squared > 0, squared, tf.ones_like(squared))
    return tf.reduce_mean(tf.where(squared > 0, tf.sqrt(safe), tf.zeros_like(squared)))
