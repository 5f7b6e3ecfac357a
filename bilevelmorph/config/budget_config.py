"""Duration and searcher of a search."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from bilevelmorph.errors import fail, positive

Searcher = Literal["gradient", "tuner-random", "tuner-bayesian", "tuner-hyperband"]
SEARCHERS: tuple[str, ...] = get_args(Searcher)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(budget: str, argument: str = "budget") -> float:
    """The seconds of a text such as 45m, 2h or 1.5d.

    Args:
        budget: The text.
        argument: Name of the argument for error messages.

    Raises:
        InputError: The text is not a time.

    >>> seconds_of("90m"), seconds_of("20")
    (5400.0, 20.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", budget.strip().lower())
    if not found:
        raise fail(argument, repr(budget), "a time such as 45m, 2h or 1.5d")
    return float(positive(argument, float(found[1]))) * _UNITS[found[2] or "s"]


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
    """gradient (with equal time for random candidates), or one of Keras Tuner's searchers."""
    trial_steps: int = 200
    """Training steps of each candidate before it is scored."""
    trials: int = 0
    """Maximum number of candidates (gradient: after the first two); 0: as many as the budget allows."""
    search_steps: int = 0
    """gradient: training steps of the supernet; 0: as many as the budget allows. If --trials is
    given too, the result depends only on the seed, not on the speed of the machine."""
    search_spacing: float = 0.0
    """gradient: voxel size of the supernet, in mm; coarser voxels allow more steps; 0: as --spacing."""
