"""The cost of a searched architecture, as a penalty on its logits."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from bilevelmorph.errors import positive
from bilevelmorph.networks.autoreg_network import AutoRegNetwork


class ArchitectureCost:
    """The expected cost of a supernet, as a weighted penalty.

    Args:
        network: Supernet.
        weight: Weight of the penalty; 0 for none.
        costs: Costs of the operations, see `AutoRegNetwork.expected_cost`.
        most: Largest cost without penalty; the penalty is the excess relative to it. If 0,
            the penalty is the whole cost relative to the initial cost.

    >>> network = AutoRegNetwork.space(2, (2,), ["conv1", "conv3"], layers=1, filters=4)
    >>> network.build()
    >>> float(ArchitectureCost(network, weight=0.5).penalty())
    0.5
    """

    def __init__(
        self,
        network: AutoRegNetwork,
        weight: float = 0.0,
        costs: Mapping[tuple[int, str], float] | None = None,
        most: float = 0.0,
    ) -> None:
        self.network, self.costs = network, costs
        self.weight = positive("latency_weight", weight, zero=True)
        self.most = positive("target_ms", most, zero=True)
        self._whole = float(network.expected_cost(costs))

    def penalty(self) -> tf.Tensor:
        """The penalty, a scalar that is differentiable with respect to the architecture."""
        cost = self.network.expected_cost(self.costs)
        excess = tf.nn.relu(cost / self.most - 1) if self.most else cost / self._whole
        return self.weight * excess

    def share(self) -> float:
        """The present cost as a fraction of the initial one."""
        return float(self.network.expected_cost(self.costs)) / self._whole
