"""Progress messages of a search."""

from __future__ import annotations

from tqdm import tqdm

from bilevelmorph.autoreg.time_budget import TimeBudget
from bilevelmorph.autoreg.trial import Candidate, ranked
from bilevelmorph.config import SearchConfig


class Progress:
    """Reports the stage of a search, the score of every candidate, and the time left.

    Args:
        config: Configuration of the search.
        budget: Time budget of the search.
        unit: Unit of the scores.
        quiet: Report nothing.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from bilevelmorph.networks import Genotype
    >>> budget = TimeBudget(Path(tempfile.mkdtemp()) / "budget.json")
    >>> progress = Progress(SearchConfig.of(budget="2h"), budget, "Dice")
    >>> progress.line(Candidate("trial 3", Genotype.uniform("conv1", (2,), 1), {}, 0.7512, 41.0, 60.0))
    'trial 3: Dice 0.7512, 41 ms a pair; best 0.7512; about 120 min left'
    """

    def __init__(self, config: SearchConfig, budget: TimeBudget, unit: str, quiet: bool = False) -> None:
        self.config, self.budget, self.unit, self.quiet = config, budget, unit, quiet
        self._scored: list[Candidate] = []

    def say(self, text: str) -> None:
        """Print a message."""
        if not self.quiet:
            tqdm.write(text)

    def scored(self, candidate: Candidate) -> None:
        """Report the score of a candidate."""
        self.say(self.line(candidate))

    def line(self, candidate: Candidate) -> str:
        """The message of `scored`."""
        self._scored.append(candidate)
        best = ranked(self._scored, self.config.architecture.target_ms)[0]
        what = f"{candidate.name}: {self.unit} {candidate.score:.4f}, {candidate.ms:.0f} ms a pair"
        return f"{what}; best {best.score:.4f}; {self._left()}"

    def _left(self) -> str:
        if self.config.budget.search_steps and self.config.budget.trials:
            return f"{self.budget.total / 60:.0f} min used"
        return f"about {max(0.0, self.config.seconds - self.budget.total) / 60:.0f} min left"
