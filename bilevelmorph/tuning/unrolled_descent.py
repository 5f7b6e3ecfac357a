"""The descent as a chain of differentiable steps, with its numbers as outer variables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from bilevelmorph.bilevel import Chain, Hypergradient, Stage
from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.errors import fail
from bilevelmorph.layers.descent import RADII, Descent
from bilevelmorph.networks.deformation import Deformation
from bilevelmorph.ops.descent import largest, updated
from bilevelmorph.ops.resizing import resize_field, shrink
from bilevelmorph.ops.windows import gaussian_smooth
from bilevelmorph.ops.xla import compile_step
from bilevelmorph.training.outer_objective import OuterObjective
from bilevelmorph.tuning.case import Case
from bilevelmorph.tuning.descent_numbers import DescentNumbers, spent

Tensors = list[tf.Tensor]


class UnrolledDescent:
    """The outer criterion after a descent, and its derivatives by the numbers of the descent.

    The steps are those of `bilevelmorph.ops.descent.descend`, without its rule to stop, and the
    number of iterations at a level is continuous: the last step is taken in part.

    Because every move is as long as `step`, a descent never comes to rest: small changes
    grow about two and a half times per iteration, and the exact derivative
    of forty iterations is noise of order 1e10. What the numbers do on the scale on which they
    are tuned shows in the last few iterations (`horizon`) at the last level, with the scale
    of the moves held where it is when the displacement changes. The number of iterations
    at a coarser level is judged by the criterion at the end of that level.

    Args:
        numbers: The outer variables.
        objective: The outer criterion.
        price: Added to the criterion for each iteration at full resolution, and for a
            coarser one in proportion to its voxels.
        direction: See `bilevelmorph.bilevel.Chain`.
        horizon: Number of last iterations that are differentiated at each level; 0 for all.

    Raises:
        InputError: The settings move both images, which cannot be differentiated.

    >>> from bilevelmorph.config.descent_config import DescentConfig
    >>> from bilevelmorph.training.outer_objective import LabelFreeObjective
    >>> numbers = DescentNumbers(DescentConfig(levels=(1,), iterations=(2,)))
    >>> unrolled = UnrolledDescent(numbers, LabelFreeObjective())
    >>> wave = np.sin(np.arange(16, dtype=np.float32))
    >>> scan = np.add.outer(wave, wave)
    >>> found = unrolled(Case(scan, np.roll(scan, 1, 0), np.zeros((16, 16, 2), np.float32)))
    >>> slopes = dict(zip(numbers.names, found.gradients[0].numpy()))
    >>> float(slopes["step"]) < 0  # a longer step would help
    True
    """

    @staticmethod
    def check(base: DescentConfig) -> None:
        """Refuse settings that cannot be differentiated, before any pair is read."""
        if base.symmetric:
            came = "settings that move both images"
            raise fail("settings", came, "settings with symmetric false", "or another searcher")

    def __init__(
        self,
        numbers: DescentNumbers,
        objective: OuterObjective,
        price: float = 0.0,
        direction: str = "reverse",
        horizon: int = 10,
    ) -> None:
        base = numbers.base
        self.check(base)
        self.numbers, self.objective, self.price = numbers, objective, price
        self.direction, self.horizon = direction, horizon
        self.layer = Descent(base)
        self.levels = [k for k, count in enumerate(base.iterations) if count]
        self._stages = [(self._entrance(k), self._step(k), self._step(k, True)) for k in self.levels]
        self._chain = Chain([numbers.variable], self._judge, compile_step)

    def __call__(self, case: Case, labels: list[int] | None = None) -> Hypergradient:
        """Differentiate the criterion on one pair.

        Args:
            case: The pair.
            labels: Label values that are scored, if the criterion needs label maps.
        """
        values = [tf.constant(case.start[None], tf.float32), tf.zeros([])]
        data, numbers = self._data(case, labels or []), self.numbers.tensors()
        names, parts, cost = np.array(self.numbers.names), [], tf.constant(0)
        for level, (entrance, step, surrogate) in zip(self.levels, self._stages, strict=True):
            own = f"iterations/{self.numbers.base.levels[level]}"
            count = math.ceil(float(numbers[own]) - 1e-3)
            stages = [Stage(entrance), Stage(step, count, surrogate)]
            found, values = self._chain(stages, values, data, self.direction, min(self.horizon, count))
            parts.append(tf.where(names == own, found.gradients[0], 0))
            cost += found.cost
        # The last level judges all numbers but the iterations at the others.
        shared = np.char.startswith(names, "iterations/")
        parts.append(tf.where(shared, 0.0, found.gradients[0]))
        return found._replace(gradients=[tf.add_n(parts)], cost=cost)

    def _data(self, case: Case, labels: list[int]) -> dict[str, Any]:
        images = [tf.constant(x[None, ..., None], tf.float32) for x in (case.fixed, case.moving)]
        factors = [self.numbers.base.levels[k] for k in self.levels]
        batch = dict(zip(("fixed", "moving"), images, strict=True))
        sides = {"fixed": 0, "moving": 1}
        if "fixed_labels" in self.objective.needs and case.labels is not None:
            values = np.array(labels)
            maps = [(x[..., None] == values).astype(np.float32) for x in case.labels]
            batch |= {f"{side}_labels": tf.constant(maps[k][None]) for side, k in sides.items()}
        if "fixed_points" in self.objective.needs and case.points is not None:
            batch |= {f"{s}_points": tf.constant(case.points[k][None], tf.float32) for s, k in sides.items()}
        return {"pyramid": [[shrink(x, f) for x in images] for f in factors], "batch": batch}

    def _entrance(self, level: int) -> Any:
        """The step that brings the displacement to the grid of a level."""
        place = self.levels.index(level)

        def enter(values: Tensors, data: Any) -> Tensors:
            shape = data["pyramid"][place][0].shape[1:-1]
            return [resize_field(values[0], list(shape)), tf.zeros([])]

        return enter

    def _step(self, level: int, surrogate: bool = False) -> Any:
        """One iteration at a level; the values are the displacement and the number of iterations so far.

        The length of the longest vector, of which there is only one, changes abruptly with the
        displacement. The surrogate has it as a function of the numbers alone.
        """
        place = self.levels.index(level)

        def step(values: Tensors, data: Any) -> Tensors:
            displacement, done = values
            numbers = self.numbers.of_level(self.numbers.tensors(), level)
            fixed, moving = data["pyramid"][place]
            objective = self.layer.objective(fixed, moving, None, numbers)
            gradient, scale = objective(displacement)[1], None
            sigmas = numbers["update_sigma"], numbers["warp_sigma"]
            if surrogate:
                same = objective(tf.stop_gradient(displacement))[1]
                scale = largest(gaussian_smooth(same, sigmas[0], RADII[0]))
            there = updated(displacement, gradient, numbers["step"], *sigmas, RADII[:2], scale)
            share = tf.clip_by_value(numbers["iterations"] - done, 0, 1)
            return [displacement + share * (there - displacement), done + 1]

        return step

    def _judge(self, values: Tensors, data: Any) -> tf.Tensor:
        batch = data["batch"]
        shape = batch["fixed"].shape[1:-1]
        displacement = resize_field(values[0], list(shape))
        cost = self.price * spent(self.numbers.tensors(), len(shape)) if self.price else 0.0
        return self.objective(Deformation(displacement, [], []), batch) + cost
