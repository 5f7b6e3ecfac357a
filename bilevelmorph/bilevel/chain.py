"""Hypergradients through an optimisation in stages, forward or in reverse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from bilevelmorph.bilevel.hypergradient import Hypergradient
from bilevelmorph.bilevel.hypergradient_method import (
    added,
    along_directions,
    finished,
    pulled_back,
    pushed_forward,
    unit_directions,
)
from bilevelmorph.errors import one_of

Tensors = list[tf.Tensor]
# From values and data to new values; may read the outer variables.
Step = Callable[[Tensors, Any], Tensors]
DIRECTIONS = ("forward", "reverse")


class Stage(NamedTuple):
    """A step and the number of times that it is taken.

    Attributes:
        step: The step.
        repeats: How often it is taken.
        surrogate: Step of the same values that is differentiated in its place, if there is one.

    >>> Stage(lambda values, data: values, 3).repeats
    3
    """

    step: Step
    repeats: int = 1
    surrogate: Step | None = None


class Chain:
    """An optimisation in stages, whose result the outer loss judges.

    A `BilevelProblem` has inner variables of one size and one inner loss. In a chain, each
    stage has a step of its own, which may change the sizes, as when an image is
    optimised from coarse to fine. Every step is compiled once, for all calls.

    Args:
        outer_variables: Variables that the steps and the outer loss read.
        outer_loss: Function of the final values and the data that returns a scalar.
        compiler: Makes graphs of functions.

    Reference: Franceschi et al., ICML 2017.

    >>> a = tf.Variable(2.0)
    >>> chain = Chain([a], lambda values, data: (values[0] - data) ** 2)
    >>> stages = [Stage(lambda values, data: [(values[0] + a) / 2], 2)]  # 1, 1.5, 1.75
    >>> for direction in ("forward", "reverse"):
    ...     found, values = chain(stages, [tf.constant(1.0)], tf.constant(0.75), direction)
    ...     print(float(values[0]), float(found.outer_loss), float(found.gradients[0]))
    1.75 1.0 1.5
    1.75 1.0 1.5
    """

    def __init__(
        self,
        outer_variables: Sequence[tf.Variable],
        outer_loss: Callable[[Tensors, Any], tf.Tensor],
        compiler: Callable[[Callable[..., Any]], Callable[..., Any]] = tf.function,
    ) -> None:
        self.outer_variables, self.outer_loss = list(outer_variables), outer_loss
        self._compiler = compiler
        self._graphs: dict[tuple[str, Any], Callable[..., Any]] = {}

    def __call__(
        self, stages: Sequence[Stage], values: Tensors, data: Any, direction: str = "reverse", last: int = 0
    ) -> tuple[Hypergradient, Tensors]:
        """Run the stages and differentiate the outer loss after them.

        Args:
            stages: Stages, the first one first.
            values: Values before the first step.
            data: Passed to every step and to the outer loss.
            direction: ``"forward"`` carries a derivative for every outer entry: flat memory, and time
                in proportion to the number of entries. ``"reverse"`` keeps the
                values before every step, and takes about four times as long as the steps.
            last: Number of last steps that are differentiated; 0 for all. Where steps amplify
                small changes, earlier ones only add noise.

        Returns:
            A `Hypergradient`, and the values after the last step.
        """
        one_of("direction", direction, DIRECTIONS)
        taken = [stage for stage in stages for _ in range(stage.repeats)]
        first = max(0, len(taken) - last) if last else 0
        for stage in taken[:first]:
            values = self._graph("run", stage.step)(values, data)
        differentiated = self._forward if direction == "forward" else self._reverse
        return differentiated(taken[first:], values, data, first)

    def _forward(
        self, taken: list[Stage], values: Tensors, data: Any, done: int
    ) -> tuple[Hypergradient, Tensors]:
        directions = unit_directions(self.outer_variables)
        tangents = [[tf.zeros_like(x) for x in values]] * len(directions)
        for stage in taken:
            values, tangents = self._graph("push", stage.surrogate or stage.step)(
                values, tangents, directions, data
            )
        loss, by_values, direct = self._graph("judge", None)(values, data)
        total = along_directions(by_values, direct, tangents)
        return finished(total, loss, 1 + done + (1 + 2 * len(directions)) * len(taken)), values

    def _reverse(
        self, taken: list[Stage], values: Tensors, data: Any, done: int
    ) -> tuple[Hypergradient, Tensors]:
        track = []
        for stage in taken:
            track.append((stage.surrogate or stage.step, values))
            values = self._graph("run", stage.step)(values, data)
        loss, vectors, total = self._graph("judge", None)(values, data)
        for step, before in reversed(track):
            vectors, part = self._graph("pull", step)(before, vectors, data)
            total = added(total, part)
        return finished(total, loss, 1 + done + 3 * len(taken)), values

    def _graph(self, kind: str, step: Step | None) -> Callable[..., Any]:
        if (kind, step) not in self._graphs:
            self._graphs[kind, step] = self._compiler(getattr(self, f"_{kind}")(step))
        return self._graphs[kind, step]

    @staticmethod
    def _run(step: Step) -> Callable[..., Any]:
        return step

    def _judge(self, _: None) -> Callable[..., Any]:
        def judge(values: Tensors, data: Any) -> Any:
            count = len(values)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([*values, *self.outer_variables])
                loss = self.outer_loss(values, data)
            found = tape.gradient(loss, [*values, *self.outer_variables], unconnected_gradients="zero")
            return loss, found[:count], found[count:]

        return judge

    def _pull(self, step: Step) -> Callable[..., Any]:
        def pull(values: Tensors, vectors: Tensors, data: Any) -> Any:
            sources = [*values, *self.outer_variables]
            _, back = pulled_back(lambda: step(values, data), sources, vectors)
            return back[: len(values)], back[len(values) :]

        return pull

    def _push(self, step: Step) -> Callable[..., Any]:
        def push(values: Tensors, tangents: list[Tensors], directions: list[Tensors], data: Any) -> Any:
            ways = [[*along, *way] for along, way in zip(tangents, directions, strict=True)]
            return pushed_forward(lambda: step(values, data), [*values, *self.outer_variables], ways)

        return push
