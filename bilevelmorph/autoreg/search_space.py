"""The search space, as hyperparameters of Keras Tuner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bilevelmorph.config import SearchConfig
from bilevelmorph.networks.genotype import INPUTS, Genotype

# The regularisation weight is searched from its initial value divided by this factor to times it.
SPREAD = 10.0


def widths(filters: Sequence[int], scales: Sequence[int]) -> dict[int, int]:
    """Default channels of a network: doubled at every coarser scale, up to the largest allowed.

    Coarse scales have so few voxels that they still cost no more than finer ones.

    Args:
        filters: Allowed numbers of channels; the finest scale gets the smallest.
        scales: Downsampling factors 2, 4, ...

    >>> widths((16, 32), (8, 4, 2))
    {2: 16, 4: 32, 8: 32}
    """
    return {s: max(f for f in filters if f <= min(filters) * s // 2) for s in sorted(scales)}


def start(config: SearchConfig) -> Genotype:
    """The plain network to start from: the same operation in every layer, every stage applied once.

    Args:
        config: Configuration of the search. The operation is ``conv3`` if it is in the search space.

    >>> genotype = start(SearchConfig.of(layers=2, scales=(4, 2)))
    >>> sorted(genotype.deformation.items()), sorted(genotype.steps.items())
    ([(2, ('conv3', 'conv3')), (4, ('conv3', 'conv3'))], [(2, 1), (4, 1)])
    """
    filters = widths(config.space.filters, config.space.scales)
    return Genotype.uniform(_plainest(config), config.space.scales, config.space.layers, filters)


def _plainest(config: SearchConfig) -> str:
    return "conv3" if "conv3" in config.space.operations else config.space.operations[0]


def draw_genotype(hp: Any, config: SearchConfig) -> Genotype:
    """The architecture that a set of hyperparameters encodes.

    Args:
        hp: Keras Tuner's `HyperParameters`.
        config: Configuration of the search, which defines the search space.

    Returns:
        The genotype; hyperparameters that are new to `hp` take their defaults.
    """
    levels = hp.Int("levels", 1, len(config.space.scales), default=len(config.space.scales))
    scales = [2 ** (k + 1) for k in range(levels)]
    features, deformation, inputs, filters, steps = {}, {}, {}, {}, {}
    # Request those of unused scales as well, so that every trial has the same hyperparameters.
    for scale in sorted(config.space.scales):
        cells = [_draw_cell(hp, f"{kind}{scale}", config) for kind in ("F", "D")]
        fed = hp.Boolean(f"D{scale}/coarser", default=True)
        width = hp.Choice(f"filters{scale}", list(config.space.filters), default=min(config.space.filters))
        repeated = hp.Int(f"D{scale}/steps", 1, max(config.space.steps))
        if scale in scales:
            filters[scale], steps[scale] = int(width), int(repeated)
            features[scale], deformation[scale] = cells
            inputs[scale] = INPUTS if fed and scale < max(scales) else INPUTS[:2]
    return Genotype(features, deformation, inputs, filters, steps)


def _draw_cell(hp: Any, name: str, config: SearchConfig) -> tuple[str, ...]:
    first = _plainest(config)
    length = hp.Int(f"{name}/layers", 1, config.space.layers, default=config.space.layers)
    chosen = [
        hp.Choice(f"{name}/{i}", list(config.space.operations), default=first)
        for i in range(config.space.layers)
    ]
    return tuple(chosen[:length])


def draw_weights(hp: Any, start: Mapping[str, float]) -> dict[str, float]:
    """The loss weights that a set of hyperparameters encodes.

    Args:
        hp: Keras Tuner's `HyperParameters`.
        start: Initial weights by name; only the regularisation weight is searched.
    """
    centre = start["regularity"]
    chosen = hp.Float("regularity", centre / SPREAD, centre * SPREAD, sampling="log", default=centre)
    return {**start, "regularity": float(chosen)}
