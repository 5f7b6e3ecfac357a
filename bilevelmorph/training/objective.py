"""The interface of training objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

from bilevelmorph.networks.base import RegistrationNetwork


class Objective(Protocol):
    """Named terms of a batch and their weighted sum, such as `bilevelmorph.losses.energy.Energy`.

    Attributes:
        variables: Variables trained together with the network; most objectives have none.
        state_variables: Variables that a checkpoint must contain.

    >>> class MeanIntensity:
    ...     variables = state_variables = ()
    ...     def evaluate(self, network, batch, training=True):
    ...         return {"intensity": tf.reduce_mean(network([batch["moving"], batch["fixed"]])["moved"])}
    ...     def total(self, terms):
    ...         return terms["intensity"]
    >>> from bilevelmorph.networks import IdentityNetwork
    >>> terms = MeanIntensity().evaluate(IdentityNetwork(2), {"moving": tf.ones([1, 8, 8, 1])} | {
    ...     "fixed": tf.zeros([1, 8, 8, 1])})
    >>> float(terms["intensity"])
    1.0
    """

    variables: Sequence[Any]
    state_variables: Sequence[Any]

    def evaluate(
        self, network: RegistrationNetwork, batch: Mapping[str, tf.Tensor], training: bool = True
    ) -> dict[str, tf.Tensor]:
        """Compute the unweighted terms of a batch, scalars by name."""
        ...

    def total(self, terms: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The weighted sum of the terms."""
        ...

    def get_config(self) -> dict[str, Any]:
        """The configuration that restores the objective, with its present weights."""
        ...
