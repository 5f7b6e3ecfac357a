"""Networks from a training configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bilevelmorph.checks import one_of
from bilevelmorph.config import TrainingConfig
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.networks.cell_network import CellNetwork
from bilevelmorph.networks.genotype import Genotype
from bilevelmorph.networks.propagation_network import PropagationNetwork
from bilevelmorph.networks.vxm_dense import VxmDense

NETWORKS = ("vxm", "propagation")


def build_network(config: TrainingConfig, shape: Sequence[int], channels: int = 1) -> RegistrationNetwork:
    """An untrained network.

    Args:
        config: Its `genotype`, else its `network`, chooses the kind.
        shape: Grid of the training pairs; only its rank fixes the network, the
            sizes are kept as the grid that scans are centred in again at inference.
        channels: Of each image.

    >>> build_network(TrainingConfig(network="propagation"), (16, 16)).multiple
    4
    """
    one_of("--network", config.network, NETWORKS)
    ndims = len(shape)
    shared = shared_options(config, shape, channels)
    if config.genotype:
        return CellNetwork.of(Genotype.load(config.genotype), ndims, int_steps=config.int_steps, **shared)
    if config.network == "vxm":
        return VxmDense(
            ndims,
            [config.enc, config.dec],
            int_steps=config.int_steps,
            int_resolution=config.int_downsize,
            bidir=config.bidir,
            use_probs=config.use_probs,
            src_feats=channels,
            trg_feats=channels,
            preprocessing=shared["preprocessing"],
        )
    return PropagationNetwork(
        ndims,
        config.scales,
        config.encoder,
        config.matching,
        config.regularization,
        config.radius[0] if len(config.radius) == 1 else config.radius,
        config.int_steps,
        config.descriptor,
        config.guides,
        config.steps[0] if len(config.steps) == 1 else config.steps,
        probabilistic=config.probabilistic,
        **shared,
    )


def shared_options(config: TrainingConfig, shape: Sequence[int], channels: int) -> dict[str, Any]:
    """What a network of any kind is told of the images; arguments as of `build_network`."""
    preprocessing: dict[str, Any] = {"percentiles": list(config.percentiles), "grid": "header"}
    if not config.synthetic:
        preprocessing |= {"grid": "centre", "shape": list(shape)}
    if config.spacing:
        preprocessing["spacing"] = config.spacing
    return {"channels": channels, "preprocessing": preprocessing}
