"""Instance optimisation: refinement of the displacement of one pair by descent."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.devices import using_xla, xla_mode, xla_request
from bilevelmorph.layers.descent import Descent
from bilevelmorph.ops.inversion import invert
from bilevelmorph.ops.xla import compile_for_any_size
from bilevelmorph.registration.level_report import LevelReport
from bilevelmorph.registration.refinement import Refinement

# Voxels times iterations of a level, from which XLA saves a few pairs of one size more time than it takes.
WORK = 2_000_000


class InstanceOptimizer:
    """Refines the displacement of a pair by descent on the similarity of its images.

    One graph, traced once, serves all levels and image sizes. By its own objective, the
    result is never worse than the start.

    Args:
        settings: Levels, iterations and numbers of the descent.
        xla: What XLA compiles, see `bilevelmorph.devices.using_xla`.
        many: Whether many pairs of one size come. On a CPU, small pairs are otherwise optimised sooner
            than XLA has compiled.

    >>> image = np.random.default_rng(0).random((24, 20)).astype(np.float32)
    >>> optimizer = InstanceOptimizer(DescentConfig(levels=(1,), iterations=(5,)), xla="off")
    >>> found = optimizer(np.zeros((24, 20, 2)), np.roll(image, 1, 0), image)
    >>> found.displacement.shape, found.levels[0].after < found.levels[0].before
    ((24, 20, 2), True)
    """

    def __init__(self, settings: DescentConfig | None = None, xla: str = "auto", many: bool = False) -> None:
        self.settings = settings or DescentConfig()
        self.layer, self.xla, self.many = Descent(self.settings), xla, many
        self._graphs: dict[Any, Callable[..., Any]] = {}
        self._listener: Callable[[], None] | None = None

    def __call__(
        self,
        displacement: np.ndarray,
        moving: np.ndarray,
        fixed: np.ndarray,
        mask: np.ndarray | None = None,
        inverse: bool = False,
        on_iteration: Callable[[], None] | None = None,
    ) -> Refinement:
        """Refine a displacement.

        Args:
            displacement: ``[*S, N]`` voxels, to start from.
            moving, fixed: ``[*S]``, values of order one.
            mask: None, or ``[*S]``: weight of each voxel of the fixed image.
            inverse: Also compute the inverse displacement.
            on_iteration: Called after each iteration, to show progress.

        Returns:
            A `Refinement`.
        """
        images = [tf.constant(x[None, ..., None], tf.float32) for x in (fixed, moving)]
        weights = [] if mask is None else [tf.constant(mask[None, ..., None], tf.float32)]
        self._listener = on_iteration
        with using_xla(self.xla):
            field = start = self.layer.begin(tf.constant(displacement[None], tf.float32))
            reports = []
            for index, count in enumerate(self.settings.iterations):
                if count:
                    field, report = self._optimise(index, [*images, field, start, *weights])
                    reports.append(report)
            forward, back = self.layer.finish(field, list(fixed.shape))
            if inverse and back is None:
                back = invert(forward)
        return Refinement(
            forward.numpy()[0], reports, back.numpy()[0] if inverse and back is not None else None
        )

    def _optimise(self, index: int, inputs: list[tf.Tensor]) -> tuple[tf.Tensor, LevelReport]:
        """The best field of a level, and what was done there."""
        began = time.perf_counter()
        level, count = self.settings.levels[index], self.settings.iterations[index]
        with using_xla(self._mode(math.prod(inputs[0].shape) // level ** (inputs[0].shape.rank - 2) * count)):
            given = [*self.layer.at_level(index, *inputs), tf.constant(count)]
            state = self._graph(given)(*given)
        broken = int(state.broken[0])
        report = LevelReport(
            level,
            int(state.taken[0]),
            float(state.begun[0]),
            float(state.objective[0]),
            time.perf_counter() - began,
            self.layer.terms[broken] if broken >= 0 else "",
        )
        return state.best, report

    def _mode(self, work: int) -> str:
        """What XLA compiles for so many voxels times iterations."""
        small = not self.many and work < WORK and xla_request() == "auto" and xla_mode() == "islands"
        return "off" if small else "auto"

    def _told(self) -> None:
        """Tell the present caller of an iteration; graphs outlive the progress bars of single pairs."""
        if self._listener is not None:
            self._listener()

    def _graph(self, inputs: list[tf.Tensor]) -> Any:
        """The optimisation at a level, for such inputs of any size."""
        # XLA cannot call back from a program that it compiles as a whole.
        shown = None if xla_mode() == "step" or self._listener is None else self._told
        key = (xla_mode(), shown is None, len(inputs), inputs[0].shape.rank)
        if key not in self._graphs:

            def optimise(*values: tf.Tensor) -> Any:
                *given, count = values
                return self.layer.optimise(*given, iterations=count, on_iteration=shown)

            self._graphs[key] = compile_for_any_size(optimise, inputs)
        return self._graphs[key]


@functools.lru_cache(maxsize=8)
def shared_optimizer(settings: DescentConfig, xla: str = "auto", many: bool = False) -> InstanceOptimizer:
    """The optimiser of these settings, one for the whole process, as tracing takes seconds.

    >>> shared_optimizer(DescentConfig()) is shared_optimizer(DescentConfig())
    True
    """
    return InstanceOptimizer(settings, xla, many)
