"""How long a search goes on, and by which searcher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Searcher = Literal["gradient", "tuner-random", "tuner-bayesian", "tuner-hyperband"]
SEARCHERS: tuple[str, ...] = get_args(Searcher)


@dataclass(frozen=True)
class BudgetConfig:
    """Budget of a search.

    >>> BudgetConfig().trial_steps
    200
    """

    out: str = "search"
    """Folder for everything that a search leaves behind."""
    budget: str = "2h"
    """Time in all, such as 45m or 2h; the same command goes on from there."""
    searcher: Searcher = "gradient"
    """Gradients (and as much time for random candidates beside them), or Keras Tuner's."""
    trial_steps: int = 200
    """Training steps of a candidate before it is scored."""
    trials: int = 0
    """Most candidates, of those tried after the first two and of Keras Tuner; 0: as many as fit."""
    search_steps: int = 0
    """gradient: training steps of the supernet; 0: as many as fit. With --trials too, the result
    depends on the seed alone, not on the machine's speed."""
    search_spacing: float = 0.0
    """gradient: millimetres of the voxels that the supernet works in, coarser than --spacing for
    more steps in the same time; 0: those of --spacing."""
