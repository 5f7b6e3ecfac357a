"""How long a search runs, and which searcher it uses."""

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
    """Folder for all results of the search."""
    budget: str = "2h"
    """Total time, such as 45m or 2h; the same command resumes an interrupted search."""
    searcher: Searcher = "gradient"
    """gradient (with as much time for random candidates beside it), or one of Keras Tuner's."""
    trial_steps: int = 200
    """Training steps of a candidate before it is scored."""
    trials: int = 0
    """Limit on Keras Tuner's candidates, and on those tried after the first two; 0: as many as fit."""
    search_steps: int = 0
    """gradient: training steps of the supernet; 0: as many as fit. With --trials as well, the
    result depends only on the seed, not on the speed of the machine."""
    search_spacing: float = 0.0
    """gradient: voxel size of the supernet, millimetres; coarser than --spacing, it allows more
    steps in the same time; 0: as --spacing."""
