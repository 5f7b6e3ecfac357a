"""How a deformation comes about: after each stage of the network, and each level of the descent."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from bilevelmorph.data.volume import Volume
from bilevelmorph.registration.prepared_pair import PreparedPair
from bilevelmorph.registration.quality import for_grid
from bilevelmorph.registration.registrar import Registrar


class Step(NamedTuple):
    """A step of a registration.

    Attributes:
        name: What has been done.
        displacement: ``[*S, N]`` voxels of the grid of the pair.

    >>> Step("affine step", np.zeros((8, 8, 2))).name
    'affine step'
    """

    name: str
    displacement: np.ndarray


def steps_of(registrar: Registrar, moving: Volume, fixed: Volume) -> tuple[PreparedPair, list[Step]]:
    """The displacement after the linear step, after each stage of the network, and after each level.

    Args:
        registrar: The registrar.
        moving, fixed: See `Registrar.__call__`.

    Returns:
        The pair on its grid, and the steps.

    >>> scan = np.random.default_rng(0).random((24, 20)).astype(np.float32)
    >>> images = (Volume(x, np.eye(4)) for x in (np.roll(scan, 1, 0), scan))
    >>> [step.name for step in steps_of(Registrar(None, quality="best"), *images)[1]]
    ['start', 'descent at 1/2', 'descent at 1/1']
    """
    pair, displacement = registrar.prepare(moving, fixed)
    shape = pair.fixed.shape
    steps = [Step("start" if registrar.affine == "none" else "affine step", np.zeros_like(displacement))]
    if registrar.network is not None:
        steps += _stages(registrar, pair)
    if registrar.settings is None:
        return pair, steps
    from bilevelmorph.registration.instance_optimizer import InstanceOptimizer

    settings = for_grid(registrar.settings, registrar.quality, shape)
    known = None if pair.known is None else pair.known.astype(np.float32)
    for level, count in zip(settings.levels, settings.iterations, strict=True):
        if count:
            part = dataclasses.replace(settings, levels=(level,), iterations=(count,))
            refined = InstanceOptimizer(part, registrar.xla)(
                displacement, pair.moving, pair.fixed.data, known
            )
            displacement = refined.displacement
            steps.append(Step(f"descent at 1/{level}", displacement))
    return pair, steps


def _stages(registrar: Registrar, pair: PreparedPair) -> list[Step]:
    """The displacement after each stage of the network, on the full grid."""
    import tensorflow as tf

    from bilevelmorph.devices import using_xla
    from bilevelmorph.ops.grid import crop
    from bilevelmorph.ops.resizing import upsample_field

    images = (tf.constant(x[None, ..., None], tf.float32) for x in (pair.moving, pair.fixed.data))
    with using_xla("off"):
        found = registrar.network.deform(*images, training=False)
    steps = []
    for field in found.displacements:
        factor = found.displacement.shape[1] // field.shape[1]
        whole = crop(upsample_field(field, factor), list(pair.fixed.shape))
        steps.append(Step(f"network at 1/{factor}", whole.numpy()[0]))
    return steps
