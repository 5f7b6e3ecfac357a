"""Application of a network to prepared pairs, compiled for large grids and for those that recur."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bilevelmorph.devices import using_xla
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.ops.grid import crop, spatial_shape
from bilevelmorph.ops.xla import compile_for_any_size, compile_step

# Number of voxels from which compiling saves a single pair more time than it takes.
LARGE = 3_000_000


class Prediction(NamedTuple):
    """A deformation on the grid of the pair.

    Attributes:
        displacement: ``[*S, N]`` float32, voxels.
        inverse: The inverse displacement, if requested.

    >>> from bilevelmorph.networks import IdentityNetwork
    >>> found = Predictor(IdentityNetwork(2))(np.ones((9, 8)), np.ones((9, 8)), inverse=True)
    >>> found.displacement.shape, found.inverse.shape
    ((9, 8, 2), (9, 8, 2))
    """

    displacement: np.ndarray
    inverse: np.ndarray | None = None


class Predictor:
    """Computes the deformations of pairs of arrays.

    Args:
        network: A registration network for single-channel images.
        compiled: True compiles for a grid when it occurs a second time, ``"at once"`` when it occurs
            first; for large grids, the latter is always done.
        xla: What XLA compiles in these cases, see `bilevelmorph.devices.using_xla`.

    >>> from bilevelmorph.networks import PropagationNetwork
    >>> network = PropagationNetwork(2, matching=[8], regularization=[8])
    >>> Predictor(network)(np.ones((9, 8)), np.ones((9, 8))).displacement.shape
    (9, 8, 2)
    """

    def __init__(self, network: RegistrationNetwork, compiled: bool | str = False, xla: str = "auto") -> None:
        self.network, self.compiled, self.xla = network, compiled, xla
        self._graphs: dict[bool, Any] = {}
        self._grids: set[tuple[int, ...]] = set()

    def __call__(self, moving: np.ndarray, fixed: np.ndarray, inverse: bool = False) -> Prediction:
        """Estimate the deformation of one pair.

        Args:
            moving, fixed: ``[*S]``, prepared for the network.
            inverse: Also compute the inverse displacement.
        """
        images = [tf.constant(x[None, ..., None], tf.float32) for x in (moving, fixed)]
        again = moving.shape in self._grids
        self._grids.add(moving.shape)
        at_once = self.compiled == "at once" or math.prod(moving.shape) >= LARGE
        if at_once or (self.compiled and again):
            with using_xla(self.xla):
                found = self._graph(images, inverse)(*images)
        else:
            with using_xla("off"):
                found = self._deform(images[0], images[1], inverse)
        displacement, *back = (x.numpy()[0] for x in found)
        return Prediction(displacement, back[0] if back else None)

    def _deform(self, moving: tf.Tensor, fixed: tf.Tensor, inverse: bool) -> list[tf.Tensor]:
        deformation = self.network.deform(moving, fixed, training=False)
        parts = [deformation.displacement, *([deformation.inverse()] if inverse else [])]
        return [crop(x, spatial_shape(fixed)) for x in parts]

    def _graph(self, images: list[tf.Tensor], inverse: bool) -> Any:
        """The network as a graph for such images."""
        if inverse not in self._graphs:

            def deform(moving: tf.Tensor, fixed: tf.Tensor) -> list[tf.Tensor]:
                return self._deform(moving, fixed, inverse)

            free = self.network.any_size
            self._graphs[inverse] = compile_for_any_size(deform, images) if free else compile_step(deform)
        return self._graphs[inverse]
