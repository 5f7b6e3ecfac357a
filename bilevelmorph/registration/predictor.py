"""Application of a network to prepared pairs, compiled for grids that recur."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from bilevelmorph.devices import using_xla
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.networks.deformation import Deformation
from bilevelmorph.ops.grid import crop

if TYPE_CHECKING:
    from bilevelmorph.registration.instance_optimizer import InstanceOptimizer


class Prediction(NamedTuple):
    """A deformation on the grid of the pair.

    Attributes:
        displacement: ``[*S, N]`` float32, voxels.
        inverse: The inverse displacement, if requested.
        seconds_a_step: Seconds per iteration of instance optimisation, if there was any.

    >>> from bilevelmorph.networks import IdentityNetwork
    >>> found = Predictor(IdentityNetwork(2))(np.ones((9, 8)), np.ones((9, 8)), inverse=True)
    >>> found.displacement.shape, found.inverse.shape, found.seconds_a_step
    ((9, 8, 2), (9, 8, 2), None)
    """

    displacement: np.ndarray
    inverse: np.ndarray | None = None
    seconds_a_step: float | None = None


class Predictor:
    """Computes the deformations of pairs of arrays.

    Args:
        network: A registration network for single-channel images.
        refiner: Instance optimisation that follows the network.
        compiled: Compile for a grid when it occurs a second time.
        xla: What XLA compiles in that case, see `bilevelmorph.devices.using_xla`.

    >>> from bilevelmorph.networks import PropagationNetwork
    >>> network = PropagationNetwork(2, matching=[8], regularization=[8])
    >>> Predictor(network)(np.ones((9, 8)), np.ones((9, 8))).displacement.shape
    (9, 8, 2)
    """

    def __init__(
        self,
        network: RegistrationNetwork,
        refiner: InstanceOptimizer | None = None,
        compiled: bool = False,
        xla: str = "auto",
    ) -> None:
        self.network, self.refiner, self.compiled = network, refiner, compiled
        self.xla = xla
        self._graphs: dict[str, Callable[..., Any]] = {}
        self._grids: set[tuple[int, ...]] = set()

    def __call__(self, moving: np.ndarray, fixed: np.ndarray, inverse: bool = False) -> Prediction:
        """Estimate the deformation of one pair.

        Args:
            moving, fixed: ``[*S]``, prepared for the network.
            inverse: Also compute the inverse displacement.
        """
        pair = [tf.constant(x[None, ..., None], tf.float32) for x in (moving, fixed)]
        graph = self.compiled and moving.shape in self._grids
        self._grids.add(moving.shape)
        if self.refiner is None:
            displacement, *back = _arrays(self._run(graph, self._direct, *pair, inverse))
            return Prediction(displacement, back[0] if back else None)
        velocities = self._run(graph, self._velocities, *pair)
        began = time.perf_counter()
        displacement, *back = _arrays(self._run(graph, self._refined, velocities, *pair, inverse))
        # The objective is also evaluated before the first step and after the last.
        cost = (time.perf_counter() - began) / (self.refiner.steps + 2)
        return Prediction(displacement, back[0] if back else None, cost)

    def _run(self, graph: bool, function: Callable[..., Any], *arguments: Any) -> list[tf.Tensor]:
        if graph:
            name = function.__name__
            if name not in self._graphs:
                self._graphs[name] = tf.function(function, autograph=False)
            with using_xla(self.xla):
                return self._graphs[name](*arguments)
        with using_xla("off"):
            return function(*arguments)

    def _direct(self, moving: tf.Tensor, fixed: tf.Tensor, inverse: bool) -> list[tf.Tensor]:
        return self._cropped(self.network.deform(moving, fixed, training=False), fixed, inverse)

    def _velocities(self, moving: tf.Tensor, fixed: tf.Tensor) -> list[tf.Tensor]:
        return list(self.network.deform(moving, fixed, training=False).velocities)

    def _refined(
        self, velocities: list[tf.Tensor], moving: tf.Tensor, fixed: tf.Tensor, inverse: bool
    ) -> list[tf.Tensor]:
        refiner: Any = self.refiner
        multiple = self.network.multiple
        grid = [-(-n // multiple) * multiple for n in fixed.shape.as_list()[1:-1]]
        start = Deformation.of_velocities(velocities, grid, self.network.int_steps, self.network.align)
        deformation, _, _ = refiner(start, moving, fixed)
        return self._cropped(deformation, fixed, inverse)

    @staticmethod
    def _cropped(deformation: Deformation, fixed: tf.Tensor, inverse: bool) -> list[tf.Tensor]:
        shape = fixed.shape.as_list()[1:-1]
        parts = [deformation.displacement, *([deformation.inverse()] if inverse else [])]
        return [crop(x, shape) for x in parts]


def _arrays(tensors: list[tf.Tensor]) -> list[np.ndarray]:
    return [x.numpy()[0] for x in tensors]
