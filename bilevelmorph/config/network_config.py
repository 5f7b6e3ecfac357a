"""The network to be trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from bilevelmorph.config.flags import File, Widths


@dataclass(frozen=True)
class NetworkConfig:
    """Network; options that it does not accept are refused.

    >>> NetworkConfig(kind="propagation").scales
    (4, 2)
    """

    kind: Annotated[str, arg(name="network")] = "vxm"
    """Network to train: vxm, propagation, or your own as package.module:Name."""
    genotype: File = None
    """Genotype file written by a search; its network is built instead of --network."""
    enc: tuple[int, ...] = (16, 32, 32, 32)
    """vxm: filters of the encoder."""
    dec: tuple[int, ...] = (32, 32, 32, 32, 32, 16, 16)
    """vxm: filters of the decoder."""
    int_steps: int = 7
    """Scaling-and-squaring steps; 0 predicts a displacement directly."""
    int_downsize: int = 2
    """vxm: factor by which the velocity is downsampled for integration."""
    use_probs: bool = False
    """vxm: probabilistic velocity (VM-diff)."""
    scales: tuple[int, ...] = (4, 2)
    """propagation: scales of the stages, from coarse to fine."""
    encoder: Widths = ((), (16, 16, 16), (32, 32, 32))
    """propagation: filters of the encoder at 1/1, 1/2, 1/4, ...; - for none, as in: - 16,16 32,32."""
    matching: tuple[int, ...] = (48, 32, 16)
    """propagation: filters of the data-matching blocks."""
    regularization: tuple[int, ...] = (48, 48, 32)
    """propagation: filters of the regularisation blocks."""
    radius: tuple[int, ...] = (0,)
    """propagation: search radius in voxels, one for all stages or one per stage."""
    descriptor: Annotated[Literal["mind"] | None, arg(metavar="mind")] = None
    """propagation: contrast-independent descriptors as further input of the encoder."""
    analytic_steps: tuple[Literal["argmin", "gradient"], ...] = ()
    """propagation: closed-form steps that the learned blocks correct."""
    steps: tuple[int, ...] = (1,)
    """propagation: iterations, one number for all stages or one per stage."""
    probabilistic: bool = False
    """propagation: Gaussian features (IJCAI 2020)."""
