"""The objective of a descent: similarity of a pair, and regularity of the displacement."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from bilevelmorph.errors import fail
from bilevelmorph.ops.warping import warp, warp_derivative

# From a moved image to the loss of each sample, ``[B]``, and its derivative, like the image.
Slope = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class PairObjective:
    """Weighted similarities of a pair of images as an objective of `descend`.

    Args:
        fixed, moving: ``[B, *S, C]``.
        similarities: Pairs of a loss and its weight. A loss is a function of ``(fixed, moved)``
            that returns a scalar, and of ``sample_weight`` if there is a mask;
            `bilevelmorph.losses.ImageLoss` adds closed forms.
        mask: None, or ``[B, *S, 1]``: weight of every voxel of the fixed grid.
        regularity: None, or a pair of a regulariser of the displacement and its weight.
        symmetric: Both images move. The displacements of the moving image are then followed,
            along the batch axis, by those of the fixed image.

    >>> image = tf.reshape(tf.range(5.0), [1, 5, 1])
    >>> def squared(fixed, moved):
    ...     return tf.reduce_mean((fixed - moved) ** 2)
    >>> terms, gradient = PairObjective(image, image, [(squared, 2.0)])(tf.fill([1, 5, 1], 0.5))
    >>> round(float(terms[0, 0]), 3), [round(float(x), 3) for x in gradient[0, :, 0]]
    (0.4, [0.4, 0.4, 0.4, 0.4, 0.0])
    """

    def __init__(
        self,
        fixed: tf.Tensor,
        moving: tf.Tensor,
        similarities: Sequence[tuple[Any, Any]],
        mask: tf.Tensor | None = None,
        regularity: tuple[Any, Any] | None = None,
        symmetric: bool = False,
    ) -> None:
        self.losses = [loss for loss, _ in similarities]
        self.weights = [tf.cast(weight, fixed.dtype) for _, weight in similarities]
        self.fixed = [features_of(loss, fixed) for loss in self.losses]
        self.moving = [features_of(loss, moving) for loss in self.losses]
        self.mask, self.regularity, self.symmetric = mask, regularity, symmetric
        pairs = zip(self.losses, self.fixed, strict=True)
        self._slopes = [] if symmetric else [slope_of(loss, image, mask) for loss, image in pairs]

    def __call__(self, displacement: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Evaluate the objective.

        Args:
            displacement: ``[B, *S, N]`` voxels; ``[2 B, *S, N]`` if symmetric.

        Returns:
            The weighted terms, ``[B, K]`` or ``[2 B, K]``, and the gradient of their sum.
        """
        terms, gradient = self._both_move(displacement) if self.symmetric else self._moving(displacement)
        if self.regularity is not None:
            function, weight = self.regularity
            value, slope = by_tape(lambda row, _: function(row), displacement, displacement)
            terms, gradient = [*terms, weight * value], gradient + weight * slope
        return tf.stack(terms, -1), gradient

    def _moving(self, displacement: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        terms, gradients = [], []
        for slope_at, image, weight in zip(self._slopes, self.moving, self.weights, strict=True):
            value, slope = slope_at(warp(image, displacement))
            terms.append(weight * value)
            gradients.append(warp_derivative(image, displacement, weight * slope))
        return terms, _sum(gradients)

    def _both_move(self, displacement: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        of_moving, of_fixed = tf.split(displacement, 2, 0)
        mask = None if self.mask is None else warp(self.mask, of_fixed)
        terms, gradients = [], []
        for loss, fixed, moving, weight in zip(
            self.losses, self.fixed, self.moving, self.weights, strict=True
        ):
            target, moved = warp(fixed, of_fixed), warp(moving, of_moving)
            value, by_moved = slope_of(loss, target, mask)(moved)
            _, by_target = slope_of(loss, moved, mask)(target)
            terms.append(weight * tf.concat([value, value], 0))
            parts = [
                warp_derivative(moving, of_moving, weight * by_moved),
                warp_derivative(fixed, of_fixed, weight * by_target),
            ]
            gradients.append(tf.concat(parts, 0))
        return terms, _sum(gradients)


def _sum(tensors: list[tf.Tensor]) -> tf.Tensor:
    return tensors[0] if len(tensors) == 1 else tf.add_n(tensors)


def features_of(loss: Any, image: tf.Tensor) -> tf.Tensor:
    """What a loss compares instead of the image, such as descriptors, ``[B, *S, K]``."""
    features = getattr(loss, "features", None)
    return image if features is None else features(image)


def slope_of(loss: Any, fixed: tf.Tensor, mask: tf.Tensor | None) -> Slope:
    """The loss between an image and others, with its derivative with respect to the other.

    Args:
        loss: See `PairObjective`. A method ``slope(fixed, mask)``, if there is one, returns the result.
        fixed: ``[B, *S, K]``, `features_of` the image.
        mask: See `PairObjective`.

    Returns:
        Function of a moved image: the loss of each sample, ``[B]``, and its derivative, ``[B, *S, K]``.
    """
    closed = getattr(loss, "slope", None)
    if closed is not None:
        return closed(fixed, mask)
    if mask is None:
        return lambda moved: by_tape(lambda m, f: loss(f, m), moved, fixed)
    if "sample_weight" not in inspect.signature(loss).parameters:
        came, fix = "one with a loss that takes no sample_weight", "give the loss this argument, a mask"
        raise fail("mask", came, "no mask", fix)
    return lambda moved: by_tape(
        lambda m, f: loss(f[..., 1:], m, sample_weight=f[..., :1]), moved, tf.concat([mask, fixed], -1)
    )


def by_tape(
    function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], x: tf.Tensor, other: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Value and gradient of a function for each sample of a batch.

    Args:
        function: Function of ``[1, ...]`` parts of `x` and `other` that returns a scalar.
        x: ``[B, ...]``; the gradient is with respect to it.
        other: ``[B, ...]``.

    Returns:
        ``[B]`` and ``[B, ...]``.

    >>> def parabola(x, factor):
    ...     return tf.reduce_sum(factor * x**2)
    >>> value, gradient = by_tape(parabola, tf.constant([[3.0]]), tf.constant([[2.0]]))
    >>> value.numpy().tolist(), gradient.numpy().tolist()
    ([18.0], [[12.0]])
    """

    def one(rows: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        row, beside = (r[None] for r in rows)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(row)
            value = function(row, beside)
        return tf.cast(value, x.dtype), tape.gradient(value, row, unconnected_gradients="zero")[0]

    kinds = (tf.TensorSpec([], x.dtype), tf.TensorSpec(x.shape[1:], x.dtype))
    return tf.map_fn(one, (x, other), fn_output_signature=kinds)
