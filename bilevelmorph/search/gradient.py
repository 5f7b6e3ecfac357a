"""The gradient searcher: one supernet, whose architecture and loss weights move while it is trained."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras

from bilevelmorph.bilevel import STRATEGIES, FirstOrder
from bilevelmorph.checks import fail
from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks.build import shared_options
from bilevelmorph.networks.cell_network import CellNetwork
from bilevelmorph.networks.genotype import Genotype
from bilevelmorph.networks.weights import load_weights
from bilevelmorph.search.clock import Clock
from bilevelmorph.search.config import RESPONSE, SearchConfig
from bilevelmorph.search.latency import expected_ms, network_ms, operation_costs
from bilevelmorph.search.space import widths
from bilevelmorph.search.trial import candidate_network
from bilevelmorph.training.data import TrainingData, open_data
from bilevelmorph.training.recorder import Recorder
from bilevelmorph.training.run import augmentation_of, make_energy, make_optimizer, make_upper_optimizer
from bilevelmorph.training.search_trainer import SearchTrainer
from bilevelmorph.training.state import newest_checkpoint, restore_state
from bilevelmorph.training.upper_objective import UpperObjective
from bilevelmorph.volumes.tables import read_json, read_rows, write_csv, write_json

PART = "gradient"
PLAN = "plan.json"
MANY = 10**9


class Found(NamedTuple):
    """What a search by gradients ends with.

    Attributes:
        genotype: The likeliest architecture.
        weights: The loss weights at the end.
        network: The supernet, for what it has learned.

    >>> supernet = CellNetwork.space(2, (2,), ["conv1", "skip"], layers=1, filters=4)
    >>> found = Found(supernet.genotype(), {"similarity": 1.0, "regularity": 0.1}, supernet)
    >>> found.genotype.features
    {2: ('conv1',)}
    """

    genotype: Genotype
    weights: dict[str, float]
    network: CellNetwork


class _Pace(keras.callbacks.Callback):
    """Cools the mixtures as the search goes on, keeps the clock, and stops when time is up."""

    def __init__(self, trainer: SearchTrainer, clock: Clock, config: SearchConfig, seconds: float) -> None:
        super().__init__()
        self.trainer, self.clock, self.config, self.seconds = trainer, clock, config, seconds

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.monotonic()
        share = epoch / max(1, self.config.epochs - 1)
        self.trainer.cells.set_temperature(self.config.temperature**share)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.clock.save()
        took = time.monotonic() - self._began
        if not self.config.search_steps and self.clock.used(PART) + took > self.seconds:
            self.model.stop_training = True
            # The same command again finds a search that is done.
            path = Path(self.config.model_dir) / PLAN
            write_json(path, read_json(path, "a plan") | {"epochs": epoch + 1})


class _Trajectory(keras.callbacks.Callback):
    """Leaves entropy, cost and genotype after every epoch in `search.csv`."""

    def __init__(self, trainer: SearchTrainer, path: Path, done: int) -> None:
        super().__init__()
        self.trainer, self.path = trainer, path
        there = read_rows(path) if done and path.is_file() else []
        self.rows: list[dict[str, Any]] = [row for row in there if int(row["epoch"]) <= done]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        cells, last = self.trainer.cells, (self.trainer.search or [{}])[-1]
        genotype = cells.genotype()
        self.rows.append(
            {
                "epoch": epoch + 1,
                "entropy": round(cells.entropy(), 6),
                "cost": round(last.get("cost", 1.0), 6),
                "skips": round(cells.share("skip"), 6),
                **{f"weight_{k}": round(v, 6) for k, v in self.trainer.weights.numbers().items()},
                **{f"F{s}": " ".join(c) for s, c in sorted(genotype.features.items())},
                **{f"D{s}": " ".join(c) for s, c in sorted(genotype.deformation.items())},
            }
        )
        write_csv(self.path, self.rows)


def gradient_search(
    config: SearchConfig, data: TrainingData, clock: Clock, seconds: float, quiet: bool = False
) -> Found:
    """Move loss weights, architecture and network weights in one run.

    Args:
        config: Of the search.
        data: Training pairs, and validation pairs for the levels above, as candidates see them.
        clock: Counts the time under ``"gradient"``.
        seconds: To be used; `--search-steps`, where given, decide instead.
        quiet: No progress bars.

    Returns:
        What was found.

    Raises:
        InputError: The time is too short for one epoch.
    """
    folder = Path(config.model_dir) / PART
    folder.mkdir(parents=True, exist_ok=True)
    clock.begin(PART)
    keras.utils.set_random_seed(config.seed)
    candidates, data = data, _coarser(config, data)
    shape = data.source.shape
    energy = make_energy(dataclasses.replace(config, bilevel=True))
    told = [n for n in energy.weights if n not in config.freeze] if config.strategy == RESPONSE else []
    network = CellNetwork.space(
        len(shape),
        config.scales,
        config.operations,
        config.layers,
        widths(config.filters, config.scales),
        max(config.steps),
        int_steps=config.int_steps,
        conditions=len(told),
        **shared_options(_own_grid(config), shape, data.source.channels),
    )
    network.build()
    trainer = _make_trainer(config, candidates, network, energy)
    start = newest_checkpoint(folder)
    epochs = _epochs(config, trainer, data, folder, seconds - clock.used(PART))
    for level in trainer.levels:
        level.warmup = int(config.warmup_share * epochs * config.steps_per_epoch)
    done = 0
    if start is not None:
        load_weights(network, start[0])
        restore_state(start[0], trainer.state_variables)
        done = start[1]
    run = dataclasses.replace(config, bilevel=True, model_dir=str(folder), epochs=epochs, val_every=MANY)
    callbacks = [
        Recorder(run, trainer, None, done, quiet),
        _Trajectory(trainer, folder / "search.csv", done),
        _Pace(trainer, clock, run, seconds),
    ]
    trainer.fit(
        data.source,
        data.upper,
        epochs=epochs,
        steps_per_epoch=config.steps_per_epoch,
        batch_size=config.batch_size,
        callbacks=callbacks,
        initial_epoch=done,
    )
    return Found(network.genotype(), trainer.weights.numbers(), network)


def _own_grid(config: SearchConfig) -> SearchConfig:
    """With the voxels that the network of all operations sees."""
    coarse = config.search_spacing
    return dataclasses.replace(config, spacing=coarse, shape=None) if coarse else config


def _coarser(config: SearchConfig, data: TrainingData) -> TrainingData:
    """The same pairs in voxels of `--search-spacing`."""
    return open_data(_own_grid(config)) if config.search_spacing else data


def _make_trainer(
    config: SearchConfig, data: TrainingData, network: CellNetwork, energy: Energy
) -> SearchTrainer:
    plan = dataclasses.replace(config, bilevel=True)
    network.objective = energy.get_config()
    trainer = SearchTrainer(network, energy, augmentation_of(plan), plan.seed)
    kind = "dice" if data.upper is not None and data.upper.label_values else "label-free"
    cost: dict[str, Any] = {}
    if config.latency_weight or config.target_ms:
        costs = operation_costs(network, data.source.shape)
        most = config.target_ms and below_target(config, data, costs)
        cost = {"cost_weight": config.latency_weight or 1.0, "costs": costs, "most": most}
    trainer.compile(
        make_optimizer(plan),
        UpperObjective(kind, config.window, guarded=True),
        FirstOrder() if config.strategy == RESPONSE else STRATEGIES[config.strategy](),
        make_upper_optimizer(plan),
        config.upper_every,
        architecture_optimizer=keras.optimizers.Adam(config.architecture_lr),
        architecture_every=config.architecture_every,
        **cost,
    )
    return trainer


def below_target(config: SearchConfig, data: TrainingData, costs: Mapping[tuple[int, str], float]) -> float:
    """What `--target-ms` leaves for cells and stages: a network does more than these.

    Raises:
        InputError: Nothing.
    """
    plain = Genotype.uniform(config.operations[0], config.scales, 1, widths(config.filters, config.scales))
    network = candidate_network(config, data, plain)
    network.build()
    rest = network_ms(network, data.source.shape) - expected_ms(network, costs)
    if config.target_ms <= rest:
        came = f"{config.target_ms:g}, {rest:.0f} of which a network of these scales takes beside its cells"
        raise fail("--target-ms", came, "more", "or fewer --scales")
    return config.target_ms - max(0.0, rest)


def _epochs(
    config: SearchConfig, trainer: SearchTrainer, data: TrainingData, folder: Path, seconds: float
) -> int:
    """How many epochs the time allows, measured once; a resumed run keeps to the plan."""
    if config.search_steps:
        return max(1, -(-config.search_steps // config.steps_per_epoch))
    path = folder / PLAN
    if path.is_file():
        return int(read_json(path, "a plan")["epochs"])
    began = time.monotonic()
    pace = trainer.pace(data.source, data.upper, config.batch_size)
    left, epoch = seconds - (time.monotonic() - began), pace * config.steps_per_epoch
    if epoch > left:
        came = f"{config.budget}, {max(0, left):.0f} s of which are left for the network of all operations"
        mend = "give more, or fewer --steps-per-epoch, --operations or --layers"
        raise fail("--budget", came, f"{epoch:.0f} s for an epoch at least", mend)
    epochs = int(left / epoch)
    write_json(path, {"epochs": epochs, "seconds_a_step": round(pace, 4)})
    return epochs
