"""The frozen configuration of a search."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bilevelmorph.checks import fail, one_of, positive
from bilevelmorph.config import TrainingConfig

SEARCHERS = ("gradient", "tuner-random", "tuner-bayesian", "tuner-hyperband")
# Of tuning loss weights, beside those of `bilevelmorph.bilevel`: the supernet is told them.
RESPONSE = "response"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class SearchConfig(TrainingConfig):
    """A `TrainingConfig`, of which every candidate is trained, and what is searched.

    >>> SearchConfig(budget="90m").seconds
    5400.0
    """

    # what differs from training
    lr: float = 1e-3
    clip_norm: float = 5.0
    scales: tuple[int, ...] = (16, 8, 4, 2)
    image_loss: str = "ncc"
    window: int = 5
    lambda_weight: float = 1.0
    strategy: str = RESPONSE
    upper_lr: float = 0.05
    upper_every: int = 2
    steps_per_epoch: int = 50
    val_pairs: int = 20
    model_dir: str = "search"
    # how it is searched
    searcher: str = "gradient"
    budget: str = "2h"
    search_steps: int = 0
    search_spacing: float = 0.0
    trial_steps: int = 200
    trials: int = 0
    # the space
    # No "skip", which wins early because it has nothing to learn: how long cells are is searched by itself.
    operations: tuple[str, ...] = ("conv1", "conv3", "conv5", "sep3", "sep5", "dil3")
    layers: int = 3
    filters: tuple[int, ...] = (16, 32)
    # Most times that a stage is applied.
    steps: tuple[int, ...] = (2,)
    # the architecture's level
    architecture_lr: float = 0.02
    architecture_every: int = 2
    # What networks do before they have learned something says little of what they will do.
    warmup_share: float = 0.4
    temperature: float = 0.3
    latency_weight: float = 0.0
    target_ms: float = 0.0

    @property
    def seconds(self) -> float:
        """The budget.

        Raises:
            InputError: It is not a time.
        """
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", self.budget.strip().lower())
        if not found:
            raise fail("--budget", repr(self.budget), "a time such as 45m, 2h or 1.5d")
        return float(positive("--budget", float(found[1]))) * UNITS[found[2] or "s"]


def check_search(config: SearchConfig) -> None:
    """Refuse values of the search's own that cannot work."""
    one_of("--searcher", config.searcher, SEARCHERS)
    _ = config.seconds
    for name in ("layers", "trial_steps", "architecture_every"):
        positive("--" + name.replace("_", "-"), getattr(config, name), whole=True)
    for name in ("search_steps", "trials"):
        positive("--" + name.replace("_", "-"), getattr(config, name), zero=True, whole=True)
    for name in ("architecture_lr", "temperature"):
        positive("--" + name.replace("_", "-"), getattr(config, name))
    for name in ("latency_weight", "target_ms", "search_spacing"):
        positive("--" + name.replace("_", "-"), getattr(config, name), zero=True)
    if not 0 <= config.warmup_share < 1:
        raise fail("--warmup-share", str(config.warmup_share), "0 or more and less than 1")
    for value in config.filters:
        positive("--filters", value, whole=True)
    for value in config.steps:
        positive("--steps", value, whole=True)
    scales = sorted(config.scales)
    if not scales or scales != [2 ** (k + 1) for k in range(len(scales))]:
        raise fail("--scales", " ".join(map(str, config.scales)), "2, 4, 8, ... without a gap")
    if len(set(config.operations)) < 2:
        raise fail("--operations", f"{len(set(config.operations))} of them", "two or more to choose from")
    if not config.data:
        raise fail("--data", "nothing", "--data DIR, whose dataset.json names training and validation scans")
