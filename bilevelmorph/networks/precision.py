"""Networks that compute in another precision."""

from __future__ import annotations

import keras

from bilevelmorph.errors import one_of
from bilevelmorph.networks.base import RegistrationNetwork

PRECISIONS = ("float32", "bfloat16")


def in_precision(network: RegistrationNetwork, precision: str) -> RegistrationNetwork:
    """A network with the same weights whose convolutions compute in a precision.

    Weights and displacements stay in float32. Processors with instructions for bfloat16 (AVX-512
    BF16, AMX) and GPUs are faster with it.

    Args:
        network: A built network.
        precision: ``"float32"`` or ``"bfloat16"``.

    Returns:
        A copy, or the network itself for ``"float32"``.

    Raises:
        InputError: There is no such precision.

    >>> from bilevelmorph.networks import PropagationNetwork
    >>> network = PropagationNetwork(2, matching=[8], regularization=[8])
    >>> network.build()
    >>> in_precision(network, "bfloat16").encoder.compute_dtype
    'bfloat16'
    """
    one_of("precision", precision, PRECISIONS)
    if precision == "float32":
        return network
    config = network.get_config()
    config.pop("dtype", None)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(f"mixed_{precision}")
    try:
        copy = type(network).from_config(config)
        copy.build()
    finally:
        keras.config.set_dtype_policy(before)
    for mine, weight in zip(copy.weights, network.weights, strict=True):
        mine.assign(weight)
    return copy
