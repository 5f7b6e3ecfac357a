"""Instance optimisation as a layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.ops.descent import DescentState, chosen, descend, unfold
from bilevelmorph.ops.grid import as_field, field_dtype, spatial_shape
from bilevelmorph.ops.inversion import invert
from bilevelmorph.ops.pair_objective import PairObjective
from bilevelmorph.ops.resizing import resize_field, shrink
from bilevelmorph.ops.warping import compose
from bilevelmorph.registry import LOSSES, REGULARIZERS

# Voxels on each side of kernels whose widths are tensors: smoothing of update and warp, window.
RADII = 6, 3, 4


@keras.saving.register_keras_serializable("bilevelmorph")
class Descent(keras.layers.Layer):
    """Coarse-to-fine descent on the displacement of a pair.

    Unrolled optimisation without weights to train: a gradient step on the similarity (data
    matching), smoothing (regularisation) and composition, at each level until it no
    longer gains. The result has no folds.

    Args:
        settings: A `DescentConfig`, or its table; the default settings if None.

    Input: ``[fixed, moving, displacement]``: images ``[B, *S, C]`` with values of order
    one, and the displacement to start from, ``[B, *S, N]`` voxels; optionally
    a mask ``[B, *S, 1]`` on the fixed grid. Output: the displacement, ``[B, *S, N]`` float32.

    Reference: Liu et al., TPAMI 2021; Yushkevich et al., Alzheimer's and Dementia 2016.

    >>> image = tf.random.stateless_uniform([1, 32, 32, 1], [0, 1])
    >>> image = tf.nn.avg_pool2d(image, 5, 1, "SAME")
    >>> layer = Descent(DescentConfig(levels=(1,), iterations=(40,)))
    >>> u = layer([image, tf.roll(image, 1, 1), tf.zeros([1, 32, 32, 2])])
    >>> round(float(tf.reduce_mean(u[0, 8:-8, 8:-8, 0])), 1)
    1.0
    """

    def __init__(self, settings: DescentConfig | dict[str, Any] | None = None, **kwargs: Any) -> None:
        # Positions in voxels need more than the ten bits of half precision.
        super().__init__(autocast=False, **kwargs)
        if not isinstance(settings, DescentConfig):
            settings = DescentConfig.of(**(settings or {}))
        self.settings = settings
        self.similarities = self._make_losses({"width": settings.window})
        self.regularizer = REGULARIZERS.make(settings.regularity) if settings.regularity_weight else None

    def _make_losses(self, options: dict[str, Any]) -> list[Any]:
        return [LOSSES.make(name, argument="similarity", **options) for name in self.settings.similarity]

    @property
    def terms(self) -> list[str]:
        """Names of the terms of the objective."""
        return [*self.settings.similarity, *([self.settings.regularity] if self.regularizer else [])]

    def objective(
        self,
        fixed: tf.Tensor,
        moving: tf.Tensor,
        mask: tf.Tensor | None = None,
        numbers: Mapping[str, Any] | None = None,
    ) -> PairObjective:
        """The objective of a pair at its resolution.

        Args:
            fixed, moving: ``[B, *S, C]``.
            mask: None, or ``[B, *S, 1]``.
            numbers: See `optimise`.
        """
        options, numbers = self.settings, numbers or {}
        losses = self.similarities
        if "window" in numbers:
            losses = self._make_losses({"width": numbers["window"], "radius": RADII[2]})
        weights = numbers.get("similarity_weights", options.similarity_weights)
        regularity = None
        if self.regularizer is not None:
            regularity = self.regularizer, numbers.get("regularity_weight", options.regularity_weight)
        similarities = list(zip(losses, weights, strict=True))
        return PairObjective(fixed, moving, similarities, mask, regularity, options.symmetric)

    def call(self, inputs: Any) -> tf.Tensor:
        fixed, moving, displacement, *mask = (as_field(x) for x in inputs)
        mask = [tf.maximum(m, 0) for m in mask]
        start = field = self.begin(displacement)
        for level, count in enumerate(self.settings.iterations):
            if count:
                there = self.at_level(level, fixed, moving, field, start, *mask)
                field = self.optimise(*there, iterations=count).best
        return self.finish(field, spatial_shape(fixed))[0]

    def begin(self, displacement: tf.Tensor) -> tf.Tensor:
        """The field to optimise: the displacement, or those of both images along the batch axis.

        Args:
            displacement: ``[B, *S, N]`` voxels.
        """
        if not self.settings.symmetric:
            return displacement
        # The middle of a point and its image is the same from both sides.
        of_fixed = invert(displacement / 2)
        return tf.concat([compose(displacement, of_fixed), of_fixed], 0)

    def at_level(
        self,
        level: int,
        fixed: tf.Tensor,
        moving: tf.Tensor,
        field: tf.Tensor,
        start: tf.Tensor,
        mask: tf.Tensor | None = None,
    ) -> list[Any]:
        """Bring a pair to the resolution of a level.

        Args:
            level: Index of the level.
            fixed, moving: ``[B, *S, C]``, full resolution.
            field: Field from `begin` or the level before, at any resolution.
            start: Field from `begin`, at any resolution.
            mask: None, or ``[B, *S, 1]``.

        Returns:
            The first arguments of `optimise`.
        """
        factor = self.settings.levels[level]
        images = [shrink(x, factor) for x in (fixed, moving)]
        here = resize_field(field, spatial_shape(images[0]))
        first = here if field is start else resize_field(start, spatial_shape(images[0]))
        return [*images, here, first, *([] if mask is None else [shrink(mask, factor)])]

    def optimise(
        self,
        fixed: tf.Tensor,
        moving: tf.Tensor,
        field: tf.Tensor,
        start: tf.Tensor,
        mask: tf.Tensor | None = None,
        *,
        iterations: Any,
        on_iteration: Callable[[], None] | None = None,
        numbers: Mapping[str, Any] | None = None,
    ) -> DescentState:
        """Optimise at one resolution, from the level before or, where that is better, the start.

        Args:
            fixed, moving, field, start, mask: From `at_level`.
            iterations: Largest number of iterations.
            on_iteration: See `descend`.
            numbers: Scalar tensors in place of numbers of the settings, by name, when they are tuned.

        Returns:
            `DescentState`; its best field has no folds.
        """
        options, given = self.settings, numbers or {}
        objective: Any = self.objective(fixed, moving, mask, numbers)
        if not tf.executing_eagerly():  # one graph for all places that call it
            objective = tf.function(objective, autograph=False)
        if field is not start:
            values = [tf.reduce_sum(objective(x)[0], -1) for x in (start, field)]
            field = chosen(values[0] < values[1], start, field)
        state = descend(
            field,
            objective,
            iterations,
            given.get("step", options.step),
            given.get("update_sigma", options.update_sigma),
            given.get("warp_sigma", options.warp_sigma),
            options.tolerance,
            options.patience,
            RADII[:2] if numbers else (None, None),
            on_iteration,
        )
        return state._replace(best=unfold(state.best))

    def finish(self, field: tf.Tensor, shape: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
        """The displacement at full resolution, and if symmetric, its inverse.

        Args:
            field: From the last level.
            shape: Spatial sizes S.
        """
        sizes = field.shape[1:-1].as_list()
        if self.settings.idle or None in sizes or sizes != list(shape):  # not from a level at full resolution
            field = unfold(resize_field(field, shape))
        if not self.settings.symmetric:
            return field, None
        of_moving, of_fixed = tf.split(field, 2, 0)
        return compose(of_moving, invert(of_fixed)), compose(of_fixed, invert(of_moving))

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return tuple(input_shape[2])

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs[2].shape, field_dtype(inputs[2].dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "settings": dataclasses.asdict(self.settings)}
