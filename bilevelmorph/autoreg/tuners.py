"""Searches with Keras Tuner, in one process or distributed over several."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import keras_tuner as kt

from bilevelmorph.autoreg.budgeted_tuner import BudgetedHyperband, BudgetedTuner, budgeted_oracle, is_done
from bilevelmorph.autoreg.progress import Progress
from bilevelmorph.autoreg.search_space import draw_genotype, draw_weights
from bilevelmorph.autoreg.time_budget import TimeBudget
from bilevelmorph.autoreg.trial import Candidate, candidate_network, ranked, trial_config
from bilevelmorph.autoreg.trial_worker import TrialWorker
from bilevelmorph.config import SearchConfig
from bilevelmorph.errors import argument, fail
from bilevelmorph.networks.autoreg_network import AutoRegNetwork
from bilevelmorph.training.build import make_energy
from bilevelmorph.training.data import TrainingData

CHIEF_SECONDS = 60.0
MANY = 100_000


class _Space(kt.HyperModel):
    """Builds candidates for Keras Tuner and trains them in another process."""

    def __init__(
        self, config: SearchConfig, data: TrainingData, train: TrialWorker, progress: Progress
    ) -> None:
        super().__init__()
        self.config, self.data, self.train, self.progress = config, data, train, progress
        self.start = make_energy(trial_config(config)).get_config()["weights"]

    def build(self, hp: Any) -> AutoRegNetwork:
        draw_weights(hp, self.start)
        network = candidate_network(self.config, self.data, draw_genotype(hp, self.config))
        if "tuner/trial_id" in hp.values:
            network.build()  # Hyperband gives it the weights of an earlier trial
        return network

    def fit(self, hp: Any, model: AutoRegNetwork, callbacks: Iterable[Any] = (), **options: Any) -> Any:
        """Train in the child process; Keras Tuner's callbacks say where to write the weights."""
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
    labelled: bool,
    budget: TimeBudget,
    seconds: float,
    kind: str,
    folder: Path,
    progress: Progress,
) -> list[Candidate]:
    """Train candidates until the time is used up.

    A later call with the same folder does not repeat finished trials.
    If Keras Tuner's environment variables `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and
    `KERASTUNER_ORACLE_PORT` are set, this process is either the chief, which hands
    out trials, or a worker, which trains them.

    Args:
        config: Configuration of the search.
        data: Training and validation pairs.
        labelled: Whether candidates are scored by Dice.
        budget: Records the time used, under `kind`.
        seconds: Time available.
        kind: ``"tuner-random"``, ``"tuner-bayesian"`` or ``"tuner-hyperband"``.
        folder: Folder in which Keras Tuner stores its trials.
        progress: Reports every candidate.

    Returns:
        All candidates, the best first; none for a worker.

    Raises:
        InputError: The chief does not answer, or no trial fits into the time.
    """
    await_chief()
    budget.begin(kind)
    train = TrialWorker(config, labelled)
    with redirect_stdout(io.StringIO()):  # hides Keras Tuner's message that it resumes from a file
        tuner = _make_tuner(_Space(config, data, train, progress), kind, budget, seconds, folder)
    try:
        tuner.search(verbose=0)
    finally:
        train.close()
        budget.save()
    if is_worker():
        return []
    found = [_candidate(trial, config, data) for trial in tuner.oracle.trials.values() if is_done(trial)]
    if not found:
        raise fail(
            "budget",
            config.budget.budget,
            "enough time for one trial",
            f"increase it, or use fewer {argument('trial_steps')}",
        )
    return ranked(found, config.architecture.target_ms)


def _make_tuner(
    space: _Space, kind: str, budget: TimeBudget, seconds: float, folder: Path
) -> BudgetedTuner | BudgetedHyperband:
    config = space.config
    shared = {
        "objective": kt.Objective("score", "max"),
        "seed": config.device.seed + 1,  # Keras Tuner treats a seed of 0 as none
    }
    place = {"directory": str(folder), "project_name": kind}
    if kind == "tuner-hyperband":
        epochs = trial_config(config).schedule.epochs
        shared |= {"max_epochs": epochs, "hyperband_iterations": MANY}
        oracle = budgeted_oracle(kt.oracles.HyperbandOracle, budget, kind, seconds, **shared)
        return BudgetedHyperband(oracle, space, **place)
    oracles = {
        "tuner-random": kt.oracles.RandomSearchOracle,
        "tuner-bayesian": kt.oracles.BayesianOptimizationOracle,
    }
    trials = config.budget.trials or MANY
    oracle = budgeted_oracle(oracles[kind], budget, kind, seconds, max_trials=trials, **shared)
    return BudgetedTuner(oracle=oracle, hypermodel=space, **place)


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
    """Whether this process trains trials that a chief hands out."""
    return "KERASTUNER_ORACLE_IP" in os.environ and not is_chief()


def is_chief() -> bool:
    """Whether this process hands out trials."""
    return "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


def await_chief(seconds: float = CHIEF_SECONDS) -> None:
    """In a worker process, wait until the chief accepts connections.

    Args:
        seconds: Longest time to wait.

    Raises:
        InputError: The chief does not answer, or some of Keras Tuner's environment variables are missing.
    """
    names = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
    missing = [n for n in names if n not in os.environ]
    if len(missing) == len(names):
        return
    if missing:
        raise fail(missing[0], "nothing", "a value, because other Keras Tuner variables are set")
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
                fix = "start the chief with KERASTUNER_TUNER_ID=chief first"
                raise fail("the chief", f"no answer from {place}", f"one within {seconds:g} s", fix) from None
            time.sleep(0.5)
