"""Training of candidates in a child process, whose exit frees all memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bilevelmorph.autoreg.trial_server import trial_runner
from bilevelmorph.child_process import ChildProcess
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
        self._child: ChildProcess | None = None
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
        request = (
            genotype.to_dict(),
            dict(weights),
            epochs,
            initial_epoch,
            start and str(start),
            end and str(end),
        )
        child = self._renewed()
        self._done += 1
        try:
            child.send(request)
            return child.receive()
        except ChildProcessError as error:
            self.close()
            raise RuntimeError("the process of the trial died, possibly for lack of memory") from error

    def _renewed(self) -> ChildProcess:
        if self._child is None or self._done >= RECYCLED_AFTER:
            self.close()
            self._child = ChildProcess(trial_runner, self.config, self.labelled, xla_request())
            self._done = 0
        return self._child

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.close()
            self._child = None
