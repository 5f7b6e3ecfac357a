"""Keras Tuner as the searcher: whole candidates trained one after the other, or on many machines."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import keras_tuner as kt
from keras_tuner.src import utils as kt_utils

from bilevelmorph.checks import fail
from bilevelmorph.networks.cell_network import CellNetwork
from bilevelmorph.search.clock import Clock
from bilevelmorph.search.config import SearchConfig
from bilevelmorph.search.progress import Progress
from bilevelmorph.search.space import draw_genotype, draw_weights
from bilevelmorph.search.trial import Candidate, candidate_network, ranked, trial_config
from bilevelmorph.search.trial_process import TrialProcess
from bilevelmorph.training.data import TrainingData
from bilevelmorph.training.run import make_energy
from bilevelmorph.volumes.files import replacing

CHIEF_SECONDS = 60.0
MANY = 100_000


class _Space(kt.HyperModel):
    """Candidates as Keras Tuner builds them, and the process that trains them."""

    def __init__(
        self, config: SearchConfig, data: TrainingData, train: TrialProcess, progress: Progress
    ) -> None:
        super().__init__()
        self.config, self.data, self.train, self.progress = config, data, train, progress
        self.start = make_energy(trial_config(config)).get_config()["weights"]

    def build(self, hp: Any) -> CellNetwork:
        draw_weights(hp, self.start)
        network = candidate_network(self.config, self.data, draw_genotype(hp, self.config))
        if "tuner/trial_id" in hp.values:
            network.build()  # Hyperband gives it the weights of an earlier trial
        return network

    def fit(self, hp: Any, model: CellNetwork, callbacks: Iterable[Any] = (), **options: Any) -> Any:
        """Train in the other process; Keras Tuner's callbacks tell where the weights are wanted."""
        end = next(c.filepath for c in callbacks if hasattr(c, "filepath"))
        epochs, done = int(options.get("epochs", 0)), int(options.get("initial_epoch", 0))
        start = end.replace(".weights.h5", ".start.weights.h5") if done else None
        if start:
            model.save_weights(start)
        try:
            genotype, weights = draw_genotype(hp, self.config), draw_weights(hp, self.start)
            facts = self.train(genotype, weights, epochs, done, start, end)
            name = Path(end).parent.name.replace("_", " ")
            self.progress.scored(Candidate(name, genotype, weights, **facts))
            return facts
        except RuntimeError as error:
            raise kt.errors.FailedTrialError(str(error)) from error


def tuner_search(
    config: SearchConfig,
    data: TrainingData,
    clock: Clock,
    budget: float,
    kind: str,
    folder: Path,
    progress: Progress,
) -> list[Candidate]:
    """Train candidates until the time is used up.

    Trials that are done are not done again by a later call on the same folder.
    Where Keras Tuner's variables `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and
    `KERASTUNER_ORACLE_PORT` are set, this process is the chief, which hands out
    trials, or a worker, which trains them.

    Args:
        config: Of the search.
        data: Pairs.
        clock: Counts the time under `kind`.
        budget: Seconds.
        kind: ``"tuner-random"``, ``"tuner-bayesian"`` or ``"tuner-hyperband"``.
        folder: Where Keras Tuner keeps its trials.
        progress: Is told of every candidate.

    Returns:
        All candidates, the best first; of a worker none.

    Raises:
        InputError: A worker's chief does not answer, or not one trial fits the time.
    """
    await_chief()
    clock.begin(kind)
    train = TrialProcess(config)
    with _whole_files():
        with redirect_stdout(io.StringIO()):  # Keras Tuner tells that it goes on from a file
            tuner = _make_tuner(_Space(config, data, train, progress), kind, folder)
        if not is_worker():
            _stop_in_time(tuner.oracle, clock, budget, kind)
        try:
            tuner.search(verbose=0)
        finally:
            train.close()
            clock.save()
    if is_worker():
        return []
    found = [_candidate(trial, config, data) for trial in tuner.oracle.trials.values() if _is_done(trial)]
    if not found:
        raise fail(
            "--budget", config.budget, "time for one trial at least", "give more, or fewer --trial-steps"
        )
    return ranked(found, config.target_ms)


@contextmanager
def _whole_files() -> Iterator[None]:
    """Keras Tuner empties its files before it writes them; killed in between it could not go on."""
    plain = kt_utils.save_json

    def save_json(path: str, obj: Any) -> str:
        with replacing(path) as temporary:
            return plain(temporary, obj)

    kt_utils.save_json = save_json
    try:
        yield
    finally:
        kt_utils.save_json = plain


def _make_tuner(space: _Space, kind: str, folder: Path) -> Any:
    config = space.config
    epochs = trial_config(config).epochs
    shared = {
        "hypermodel": space,
        "objective": kt.Objective("score", "max"),
        "seed": config.seed + 1,  # Keras Tuner takes 0 for none
        "directory": str(folder),
        "project_name": kind,
    }
    if kind == "tuner-hyperband":
        return kt.Hyperband(max_epochs=epochs, hyperband_iterations=MANY, **shared)
    tuner = {"tuner-random": kt.RandomSearch, "tuner-bayesian": kt.BayesianOptimization}[kind]
    return tuner(max_trials=config.trials or MANY, **shared)


def _stop_in_time(oracle: Any, clock: Clock, budget: float, kind: str) -> None:
    """No new trial where the longest one until now would not fit any more."""
    draw = oracle.populate_space

    def populate_space(trial_id: str) -> dict[str, Any]:
        clock.save()
        done = [t.metrics.get_best_value("seconds") for t in oracle.trials.values() if _is_done(t)]
        if oracle.trials and clock.used(kind) + max(done, default=0.0) > budget:
            return {"status": kt.engine.trial.TrialStatus.STOPPED}
        return draw(trial_id)

    oracle.populate_space = populate_space


def _is_done(trial: Any) -> bool:
    return trial.status == "COMPLETED" and trial.score is not None


def _candidate(trial: Any, config: SearchConfig, data: TrainingData) -> Candidate:
    hp, value = trial.hyperparameters, trial.metrics.get_best_value
    start = make_energy(trial_config(config)).get_config()["weights"]
    return Candidate(
        f"trial {trial.trial_id}",
        draw_genotype(hp, config),
        draw_weights(hp, start),
        float(trial.score),
        float(value("ms")),
        float(value("seconds")),
    )


def is_worker() -> bool:
    """Whether this process trains what a chief elsewhere hands out."""
    return "KERASTUNER_ORACLE_IP" in os.environ and not is_chief()


def is_chief() -> bool:
    """Whether this process hands out trials."""
    return "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


def await_chief(seconds: float = CHIEF_SECONDS) -> None:
    """Wait until a worker's chief answers.

    Args:
        seconds: To wait at most.

    Raises:
        InputError: It does not, or Keras Tuner's variables are not all set.
    """
    names = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
    missing = [n for n in names if n not in os.environ]
    if len(missing) == len(names):
        return
    if missing:
        raise fail(missing[0], "nothing", "a value, as the other variables of Keras Tuner have one")
    port = os.environ["KERASTUNER_ORACLE_PORT"]
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise fail("KERASTUNER_ORACLE_PORT", repr(port), "the number of a port")
    if is_chief():
        return
    address, until = (os.environ["KERASTUNER_ORACLE_IP"], int(port)), time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(address, timeout=2).close()
            return
        except OSError:
            if time.monotonic() > until:
                place = f"{address[0]}:{port}"
                mend = "start the chief with KERASTUNER_TUNER_ID=chief first"
                raise fail("the chief", f"no answer from {place}", "one within a minute", mend) from None
            time.sleep(0.5)
