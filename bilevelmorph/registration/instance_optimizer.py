"""Instance optimisation: refinement of the displacement of one pair by descent."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.devices import using_xla, xla_mode
from bilevelmorph.layers.descent import Descent
from bilevelmorph.ops.inversion import invert
from bilevelmorph.ops.xla import compile_step
from bilevelmorph.registration.level_report import LevelReport
from bilevelmorph.registration.refinement import Refinement


class InstanceOptimizer:
    """Refines the displacement of a pair by descent on the similarity of its images.

    The graph of each level is traced once per image size. By its own objective, the result
    is never worse than the start.

    Args:
        settings: Levels, iterations and numbers of the descent.
        xla: What XLA compiles, see `bilevelmorph.devices.using_xla`.

    >>> image = np.random.default_rng(0).random((24, 20)).astype(np.float32)
    >>> optimizer = InstanceOptimizer(DescentConfig(levels=(1,), iterations=(5,)), xla="off")
    >>> found = optimizer(np.zeros((24, 20, 2)), np.roll(image, 1, 0), image)
    >>> found.displacement.shape, found.levels[0].after < found.levels[0].before
    ((24, 20, 2), True)
    """

    def __init__(self, settings: DescentConfig | None = None, xla: str = "auto") -> None:
        self.settings = settings or DescentConfig()
        self.layer, self.xla = Descent(self.settings), xla
        self._levels: dict[Any, Callable[..., Any]] = {}
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
                if not count:
                    continue
                began = time.perf_counter()
                inputs = [*images, field, start, *weights]
                state = self._level(index, inputs)(*inputs)
                field = state.best
                broken = int(state.broken[0])
                reports.append(
                    LevelReport(
                        self.settings.levels[index],
                        int(state.taken[0]),
                        float(state.begun[0]),
                        float(state.objective[0]),
                        time.perf_counter() - began,
                        self.layer.terms[broken] if broken >= 0 else "",
                    )
                )
            forward, back = self.layer.finish(field, list(fixed.shape))
            if inverse and back is None:
                back = invert(forward)
        return Refinement(
            forward.numpy()[0], reports, back.numpy()[0] if inverse and back is not None else None
        )

    def _told(self) -> None:
        """Tell the present caller of an iteration; graphs outlive the progress bars of single pairs."""
        if self._listener is not None:
            self._listener()

    def _level(self, index: int, inputs: list[tf.Tensor]) -> Any:
        """The graph of a level for inputs of these shapes."""
        # XLA cannot call back from a program that it compiles as a whole.
        shown = None if xla_mode() == "step" or self._listener is None else self._told
        specs = [tf.TensorSpec(x.shape, x.dtype) for x in inputs]
        key = (index, xla_mode(), shown is None, *specs)
        if key not in self._levels:

            def level(fixed: tf.Tensor, moving: tf.Tensor, field: tf.Tensor, *others: tf.Tensor) -> Any:
                # The first level starts from the start itself.
                start, *mask = others if index else (field, *others[1:])
                return self.layer.run_level(
                    index, fixed, moving, field, start, mask[0] if mask else None, shown
                )

            graph: Any = compile_step(level)
            self._levels[key] = graph.get_concrete_function(*specs)
        return self._levels[key]


@functools.lru_cache(maxsize=8)
def shared_optimizer(settings: DescentConfig, xla: str = "auto") -> InstanceOptimizer:
    """The optimiser of these settings, one for the whole process, as tracing takes seconds.

    >>> shared_optimizer(DescentConfig()) is shared_optimizer(DescentConfig())
    True
    """
    return InstanceOptimizer(settings, xla)
