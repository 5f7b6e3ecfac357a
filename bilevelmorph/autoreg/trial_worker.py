"""Trials in a separate process, so that ending it frees their memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bilevelmorph.autoreg.trial_server import serve
from bilevelmorph.config import SearchConfig
from bilevelmorph.devices import xla_request
from bilevelmorph.networks.genotype import Genotype

# TensorFlow keeps about 20 MB of every graph that it has trained, whatever is deleted; a new
# process costs an import of TensorFlow.
RECYCLED_AFTER = 8


class TrialWorker:
    """Trains candidates in a child process, which is renewed from time to time.

    Args:
        config: Configuration of the search.
        labelled: Candidates are scored by Dice.

    >>> train = TrialWorker(SearchConfig.of(data="scans", trial_steps=100), labelled=True)
    >>> train.config.budget.trial_steps
    100
    >>> train.close()  # no child yet: the first trial starts one
    """

    def __init__(self, config: SearchConfig, labelled: bool) -> None:
        self.config, self.labelled = config, labelled
        self._child: Any = None
        self._pipe: Any = None
        self._done = 0

    def __call__(
        self,
        genotype: Genotype,
        weights: Mapping[str, float],
        epochs: int = 0,
        initial_epoch: int = 0,
        start: str | Path | None = None,
        end: str | Path | None = None,
    ) -> dict[str, float]:
        """Train one candidate.

        Args:
            genotype: Architecture of its network.
            weights: Its loss weights.
            epochs, initial_epoch: See `Trainer.fit`; by default the whole trial.
            start: ``.weights.h5`` of an earlier part of it.
            end: Where to write the weights.

        Returns:
            ``score``, ``ms`` and ``seconds``, see `Candidate`.

        Raises:
            RuntimeError: The trial failed, or the child died.
        """
        if self._child is None or self._done >= RECYCLED_AFTER:
            self._renew()
        asked = (
            genotype.to_dict(),
            dict(weights),
            epochs,
            initial_epoch,
            start and str(start),
            end and str(end),
        )
        self._done += 1
        try:
            self._pipe.send(asked)
            kind, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            self.close()
            raise RuntimeError("the process of the trial died; was there memory enough?") from error
        if kind == "failed":
            raise RuntimeError(value)
        return value

    def _renew(self) -> None:
        self.close()
        # Not forked, because TensorFlow does not survive a fork.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(
            target=serve, args=(theirs, self.config, self.labelled, xla_request()), daemon=True
        )
        self._child.start()
        theirs.close()
        self._done = 0

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._pipe.close()
            self._child.kill()  # all requests are answered, and TensorFlow is slow to exit
            self._child.join()
            self._child = None
