"""Runs training from a configuration: data, network, objective, checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from bilevelmorph.config import TrainingConfig
from bilevelmorph.errors import InputError, argument, fail
from bilevelmorph.losses.energy import Energy
from bilevelmorph.models.weights import load_weights
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.networks.build import build_network
from bilevelmorph.training.build import check_terms, make_energy, make_trainer
from bilevelmorph.training.check import check
from bilevelmorph.training.checkpoint import newest_checkpoint, remove_old_states, restore_state
from bilevelmorph.training.checkpoint_callback import CheckpointCallback
from bilevelmorph.training.data import open_data
from bilevelmorph.training.divergence_error import DivergenceError
from bilevelmorph.training.trainer import Trainer


def train(
    config: TrainingConfig | None = None, quiet: bool = False, **options: object
) -> RegistrationNetwork:
    """Train a network; write checkpoints, logs and the configuration to its folder.

    Args:
        config: Configuration of the run; the defaults if None.
        quiet: Suppress messages and progress bars.
        options: Values that override the configuration, named as the flags of `bilevelmorph train`:
            ``train(data="scans", network="propagation", image_loss="ncc")``. Components may
            also be given as classes or functions.

    Returns:
        The trained network.

    Raises:
        InputError: Data or options are unusable, or the training diverged.
    """
    config = (config or TrainingConfig()).with_(**options)
    check(config)
    keras.utils.set_random_seed(config.device.seed)
    data = open_data(config)
    run = prepare(config, data.pairs)
    trainer = make_trainer(config, run.network, run.energy, data.outer_pairs)
    callback = CheckpointCallback(config, trainer, data.validation, run.initial_epoch, quiet)
    fit(config, run, trainer, data.pairs, [callback])
    return run.network


class Prepared(NamedTuple):
    """Network and objective at the start of a run.

    Attributes:
        network: Network with its initial weights.
        energy: The objective.
        start: File of these weights, if any.
        initial_epoch: Epochs already done.

    >>> import tempfile
    >>> from types import SimpleNamespace
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     config = TrainingConfig.of(model_dir=folder, enc=(4,), dec=(4, 4))
    ...     run = prepare(config, SimpleNamespace(shape=(16, 16), channels=1))
    >>> run.network.ndims, run.energy.weights["regularity"], run.start, run.initial_epoch
    (2, 0.01, None, 0)
    """

    network: RegistrationNetwork
    energy: Energy
    start: Path | None
    initial_epoch: int


def prepare(config: TrainingConfig, pairs: Any) -> Prepared:
    """Create the folder, the network and the objective of a run on these pairs."""
    folder = Path(config.output.model_dir)
    start, initial_epoch = starting_point(config, folder)
    network, energy = build_network(config, pairs.shape, pairs.channels), make_energy(config)
    check_terms(energy, network)
    folder.mkdir(parents=True, exist_ok=True)
    network.build()
    if start is not None:
        load_weights(network, start)
    # For instance optimisation: unlike synthetic pairs, real ones have no known positions.
    network.objective = energy.get_config() | ({"similarity": "mind"} if config.scans.synthetic else {})
    return Prepared(network, energy, start, initial_epoch)


def fit(
    config: TrainingConfig,
    run: Prepared,
    trainer: Trainer,
    pairs: Any,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Train from the initial epoch to the last one."""
    if run.start is not None and run.initial_epoch:
        restore_state(run.start, trainer.state_variables)
        remove_old_states(run.start)
    config.save(Path(config.output.model_dir) / "config.json")
    try:
        trainer.fit(
            pairs,
            epochs=config.schedule.epochs,
            steps_per_epoch=config.optimization.steps_per_epoch,
            batch_size=config.optimization.batch_size,
            callbacks=callbacks,
            initial_epoch=run.initial_epoch,
        )
    except DivergenceError as error:
        raise InputError(f"training diverged: {error}; {_advice(config)}") from error


def _advice(config: TrainingConfig) -> str:
    folder = config.output.model_dir
    if newest_checkpoint(Path(folder)):
        good = f"the last checkpoint in {folder} is still good, resume from it"
    else:
        good = "start again"
    return f"{good} with a lower {argument('lr')} than {config.optimization.lr:g}"


def starting_point(config: TrainingConfig, folder: Path) -> tuple[Path | None, int]:
    """Find the weights file that a run starts from, and the number of epochs already done."""
    schedule = config.schedule
    if schedule.resume:
        found = newest_checkpoint(folder)
        return found if found else (None, 0)
    if schedule.load_weights:
        path = Path(schedule.load_weights)
        if not path.is_file():
            raise fail("load_weights", f"{path}, which does not exist", "a .keras or .h5 file")
        return path, schedule.initial_epoch
    if found := newest_checkpoint(folder):
        came = f"{folder}, which holds a run of {found[1]} epochs"
        fix = f"choose another, or set {argument('resume')} to go on"
        raise fail("model_dir", came, "a folder without a run", fix)
    return None, schedule.initial_epoch
