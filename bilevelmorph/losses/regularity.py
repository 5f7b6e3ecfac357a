"""Penalties on displacement and velocity fields, as plain functions."""

from __future__ import annotations

import tensorflow as tf

from bilevelmorph.losses.base import full_precision, masked_mean
from bilevelmorph.ops.derivatives import difference, jacobian_determinant
from bilevelmorph.ops.xla import xla_jit


@xla_jit
def diffusion(field: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """Mean squared first difference, averaged over axes (VoxelMorph's ``Grad('l2')``).

    Args:
        field: ``[B, *S, N]`` voxels.
        mask: None, or ``[B, *S, 1]``.

    Returns:
        Scalar; 0 for constant fields.

    >>> float(diffusion(tf.ones([1, 4, 4, 2])))
    0.0
    """
    field = full_precision(field)
    axes = range(1, field.shape.rank - 1)
    terms = [masked_mean(tf.square(difference(field, a)), _shorten(mask, a)) for a in axes]
    return tf.add_n(terms) / len(terms)


@xla_jit
def bending(field: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """Mean squared second difference over all pairs of axes; 0 for affine fields.

    Args:
        field: ``[B, *S, N]`` voxels, sizes of at least 3.
        mask: None, or ``[B, *S, 1]``.

    Returns:
        Scalar.

    Reference: Rueckert et al., TMI 1999.

    >>> float(bending(tf.reshape(tf.range(5.0), [1, 5, 1])))
    0.0
    """
    field = full_precision(field)
    n = field.shape.rank - 2
    terms = []
    for a in range(1, n + 1):
        for b in range(a, n + 1):
            weight = 1.0 if a == b else 2.0
            second = tf.square(difference(difference(field, a), b))
            terms.append(weight * masked_mean(second, _shorten(_shorten(mask, a), b)))
    return tf.add_n(terms) / n**2


@xla_jit
def folding(displacement: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """Mean of the negative part of the Jacobian determinant.

    Args:
        displacement: ``[B, *S, N]`` voxels, sizes of at least 2.
        mask: None, or ``[B, *S, 1]``.

    Returns:
        Scalar; 0 without folding.

    >>> float(folding(tf.zeros([1, 4, 4, 2])))
    0.0
    """
    determinant = jacobian_determinant(full_precision(displacement))[..., None]
    return masked_mean(tf.nn.relu(-determinant), mask)


def _shorten(mask: tf.Tensor | None, axis: int) -> tf.Tensor | None:
    """Mask of forward differences: both voxels of a difference must lie inside."""
    if mask is None:
        return None
    before = [slice(None)] * mask.shape.rank
    after = list(before)
    before[axis], after[axis] = slice(None, -1), slice(1, None)
    return tf.minimum(mask[tuple(before)], mask[tuple(after)])
