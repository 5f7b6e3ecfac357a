"""Run times of operations and networks on this machine, for AutoReg's latency penalty."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bilevelmorph.layers.cell_stage import CellStage
from bilevelmorph.layers.mixed_op import MixedOp
from bilevelmorph.networks.autoreg_network import AutoRegNetwork
from bilevelmorph.networks.base import RegistrationNetwork

ROUNDS = 7


def median_ms(run: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Median time of a call after two warm-up calls, milliseconds."""
    seconds = []
    for _ in range(rounds + 2):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return 1000 * float(np.median(seconds[2:]))


def network_ms(network: RegistrationNetwork, shape: Sequence[int], rounds: int = ROUNDS) -> float:
    """Measure the time of one forward pass for one pair, in milliseconds.

    Args:
        network: A registration network.
        shape: Grid size of the pair.
        rounds: Number of repetitions, of which the median is taken.

    Returns:
        The median, measured through a traced function on the device in use.
    """
    pair = [tf.random.stateless_uniform([1, *shape, network.channels], [0, k]) for k in (1, 2)]
    forward = tf.function(lambda a, b: network.deform(a, b, training=False).displacement, autograph=False)
    return median_ms(lambda: forward(*pair).numpy(), rounds)


def operation_costs(network: AutoRegNetwork, shape: Sequence[int]) -> dict[tuple[int, str], float]:
    """Measure the time of every operation at every scale, and of a stage without its cell, in milliseconds.

    Args:
        network: Supernet whose operations, scales and widths are measured.
        shape: Size of the full grid.

    Returns:
        Times by scale and operation, for `AutoRegNetwork.expected_cost`; ``"stage"``: without its cell.
    """
    costs: dict[tuple[int, str], float] = {}
    for scale in network.features:
        width = network.filters[scale]
        size = [max(1, -(-n // scale)) for n in shape]
        x = tf.random.stateless_uniform([1, *size, width], [0, scale])
        cells = [*network.features[scale], *network.deformation.get(scale, [])]
        for name in dict.fromkeys(name for layer in cells for name in layer):
            costs[scale, name] = _layer_ms(MixedOp(network.ndims, width, [name]), [x])
        if scale in network.deformation:
            field = tf.zeros([1, *size, network.ndims])
            stage = CellStage(network.ndims, width, [["skip"]], ["features", "cost"], radius=network.radius)
            whole = _layer_ms(stage, [[x, x, field]])
            costs[scale, "stage"] = max(0.0, whole - costs.get((scale, "skip"), 0.0))
    return costs


def _layer_ms(layer: Any, inputs: Sequence[Any]) -> float:
    forward = tf.function(lambda: layer(*inputs), autograph=False)
    return median_ms(lambda: tf.nest.map_structure(lambda y: y.numpy(), forward()))


def expected_ms(network: AutoRegNetwork, costs: Mapping[tuple[int, str], float]) -> float:
    """The value of `AutoRegNetwork.expected_cost` for measured costs, milliseconds."""
    return float(network.expected_cost(costs))
