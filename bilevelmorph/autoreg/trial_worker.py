"""Training of candidates in a child process, whose exit frees all memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bilevelmorph.autoreg.trial_server import serve
from bilevelmorph.config import SearchConfig
from bilevelmorph.devices import xla_request
from bilevelmorph.networks.genotype import Genotype

# TensorFlow leaks about 20 MB for every graph that it has trained; a new process takes another import
# of TensorFlow.
RECYCLED_AFTER = 8


class TrialWorker:
    """Trains candidates in a child process, which is renewed from time to time.

    Args:
        config: Configuration of the search.
        labelled: Whether candidates are scored by Dice.

    >>> train = TrialWorker(SearchConfig.of(data="scans", trial_steps=100), labelled=True)
    >>> train.config.budget.trial_steps
    100
    >>> train.close()  # nothing to close: the first trial starts the child
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
            genotype: Architecture of the network.
            weights: Loss weights.
            epochs, initial_epoch: See `Trainer.fit`; by default the whole trial.
            start: ``.weights.h5`` file to continue from, such as that of an earlier part of the trial.
            end: ``.weights.h5`` file to write.

        Returns:
            ``score``, ``ms`` and ``seconds``, see `Candidate`.

        Raises:
            RuntimeError: The trial failed, or the child process died.
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
            raise RuntimeError("the process of the trial died, possibly for lack of memory") from error
        if kind == "failed":
            raise RuntimeError(value)
        return value

    def _renew(self) -> None:
        self.close()
        # TensorFlow does not work in a forked process.
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
            self._child.kill()  # killed, because TensorFlow is slow to exit
            self._child.join()
            self._child = None
