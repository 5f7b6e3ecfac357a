"""Networks from a training configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from bilevelmorph.config import NetworkConfig, TrainingConfig
from bilevelmorph.errors import fail
from bilevelmorph.networks.autoreg_network import AutoRegNetwork
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.networks.genotype import Genotype
from bilevelmorph.registry import NETWORKS

# Fields that select the network rather than set an option of it.
_CHOICE = ("kind", "genotype")


def build_network(config: TrainingConfig, shape: Sequence[int], channels: int = 1) -> RegistrationNetwork:
    """Build an untrained network.

    Args:
        config: Training configuration; `network.genotype`, if given, selects the network,
            otherwise `network.kind`.
        shape: Spatial sizes of the training pairs. The network depends on their number only;
            the sizes are stored, so that scans are centred in the same grid at inference.
        channels: Channels of each image.

    Raises:
        InputError: There is no such network, or it does not take one of the options.

    >>> build_network(TrainingConfig.of(network="propagation"), (16, 16)).multiple
    4
    """
    check_options(config.network)
    ndims, shared = len(shape), shared_options(config, shape, channels)
    if config.network.genotype:
        genotype = Genotype.load(config.network.genotype)
        return AutoRegNetwork.of(genotype, ndims, int_steps=config.network.int_steps, **shared)
    options = dataclasses.asdict(config.network) | {"bidir": config.extra_terms.bidir}
    return network_class(config.network).from_options(ndims, options, **shared)


def network_class(config: NetworkConfig) -> type[RegistrationNetwork]:
    """The network class that a configuration selects.

    Raises:
        InputError: There is no such class, or it is not a registration network.
    """
    if config.genotype:
        return AutoRegNetwork
    found = NETWORKS.find(config.kind)
    if not isinstance(found, type) or not issubclass(found, RegistrationNetwork):
        raise fail("network", config.kind, "a subclass of bilevelmorph.networks.RegistrationNetwork")
    return found


def check_options(config: NetworkConfig) -> None:
    """Reject options that the network would ignore."""
    taken, plain = network_class(config).options(), NetworkConfig()
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in (*_CHOICE, *taken) or value == getattr(plain, field.name):
            continue
        name = "a genotype" if config.genotype else f"network {config.kind}"
        known = [o for o in taken if hasattr(plain, o)]
        raise fail(field.name, f"a value for {name}", f"only its options: {', '.join(known) or 'none'}")


def shared_options(config: TrainingConfig, shape: Sequence[int], channels: int) -> dict[str, Any]:
    """Constructor arguments of any network that follow from the images; see `build_network`."""
    prepared = config.preprocessing
    preprocessing: dict[str, Any] = {"percentiles": list(prepared.percentiles), "grid": "header"}
    if not (config.scans.synthetic or config.scans.mix):
        preprocessing |= {"grid": "centre", "shape": list(shape)}
    if prepared.spacing:
        preprocessing["spacing"] = prepared.spacing
    return {"channels": channels, "preprocessing": preprocessing}
