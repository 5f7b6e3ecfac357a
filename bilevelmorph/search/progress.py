"""What a search says while it goes on."""

from __future__ import annotations

from tqdm import tqdm

from bilevelmorph.search.clock import Clock
from bilevelmorph.search.config import SearchConfig
from bilevelmorph.search.trial import Candidate, ranked


class Progress:
    """Tells what a search does, every candidate when it is scored, and the time left.

    Args:
        config: Of the search.
        clock: Of the search.
        unit: Of the scores.
        quiet: Say nothing.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from bilevelmorph.networks import Genotype
    >>> clock = Clock(Path(tempfile.mkdtemp()) / "clock.json")
    >>> progress = Progress(SearchConfig(budget="2h"), clock, "Dice")
    >>> progress.line(Candidate("trial 3", Genotype.uniform("conv1", (2,), 1), {}, 0.7512, 41.0, 60.0))
    'trial 3: Dice 0.7512, 41 ms a pair; best 0.7512; about 120 min left'
    """

    def __init__(self, config: SearchConfig, clock: Clock, unit: str, quiet: bool = False) -> None:
        self.config, self.clock, self.unit, self.quiet = config, clock, unit, quiet
        self._scored: list[Candidate] = []

    def say(self, text: str) -> None:
        """Say anything."""
        if not self.quiet:
            tqdm.write(text)

    def scored(self, candidate: Candidate) -> None:
        """Say how a candidate did."""
        self.say(self.line(candidate))

    def line(self, candidate: Candidate) -> str:
        """What `scored` says."""
        self._scored.append(candidate)
        best = ranked(self._scored, self.config.target_ms)[0]
        what = f"{candidate.name}: {self.unit} {candidate.score:.4f}, {candidate.ms:.0f} ms a pair"
        return f"{what}; best {best.score:.4f}; {self._left()}"

    def _left(self) -> str:
        if self.config.search_steps and self.config.trials:
            return f"{self.clock.total / 60:.0f} min used"
        return f"about {max(0.0, self.config.seconds - self.clock.total) / 60:.0f} min left"
