"""The gradient searcher: one supernet, trained together with its architecture and loss weights."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras

from bilevelmorph.autoreg.latency import expected_ms, network_ms, operation_costs
from bilevelmorph.autoreg.search_space import widths
from bilevelmorph.autoreg.time_budget import TimeBudget
from bilevelmorph.autoreg.trial import candidate_network
from bilevelmorph.config import SearchConfig
from bilevelmorph.config.search_config import RESPONSE
from bilevelmorph.errors import argument, fail
from bilevelmorph.io.csv import read_rows, write_csv
from bilevelmorph.io.json import read_json, write_json
from bilevelmorph.losses.energy import Energy
from bilevelmorph.models.weights import load_weights
from bilevelmorph.networks.autoreg_network import AutoRegNetwork
from bilevelmorph.networks.build import shared_options
from bilevelmorph.networks.genotype import Genotype
from bilevelmorph.training.architecture_cost import ArchitectureCost
from bilevelmorph.training.architecture_problem import ArchitectureProblem
from bilevelmorph.training.build import make_augmentation, make_energy, make_optimizer, make_outer_optimizer
from bilevelmorph.training.checkpoint import newest_checkpoint, restore_state
from bilevelmorph.training.checkpoint_callback import CheckpointCallback
from bilevelmorph.training.conditional_loss_weight_problem import ConditionalLossWeightProblem
from bilevelmorph.training.data import TrainingData, open_data
from bilevelmorph.training.loss_weight_problem import LossWeightProblem
from bilevelmorph.training.loss_weights import LossWeights
from bilevelmorph.training.outer_objective import DiceObjective, LabelFreeObjective, OuterObjective
from bilevelmorph.training.outer_problem import OuterProblem
from bilevelmorph.training.topology_problem import TopologyProblem
from bilevelmorph.training.trainer import Trainer

PART = "gradient"
PLAN = "plan.json"
MANY = 10**9


class SupernetResult(NamedTuple):
    """The result of a gradient search.

    Attributes:
        genotype: The likeliest architecture.
        weights: The final loss weights.
        network: The trained supernet.

    >>> supernet = AutoRegNetwork.space(2, (2,), ["conv1", "skip"], layers=1, filters=4)
    >>> found = SupernetResult(supernet.genotype(), {"similarity": 1.0, "regularity": 0.1}, supernet)
    >>> found.genotype.features
    {2: ('conv1',)}
    """

    genotype: Genotype
    weights: dict[str, float]
    network: AutoRegNetwork


class _Schedule(keras.callbacks.Callback):
    """Anneals the mixtures, records the time used, and stops when the time is up."""

    def __init__(
        self, network: AutoRegNetwork, budget: TimeBudget, config: SearchConfig, epochs: int, seconds: float
    ) -> None:
        super().__init__()
        self.network, self.budget, self.config = network, budget, config
        self.epochs, self.seconds = epochs, seconds

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.monotonic()
        share = epoch / max(1, self.epochs - 1)
        self.network.set_temperature(self.config.architecture.temperature**share)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.budget.save()
        took = time.monotonic() - self._began
        if not self.config.budget.search_steps and self.budget.used(PART) + took > self.seconds:
            self.model.stop_training = True
            # So that a repeated call finds this stage finished.
            path = Path(self.config.budget.out, PART, PLAN)
            write_json(path, read_json(path, "a plan") | {"epochs": epoch + 1})


class _Trajectory(keras.callbacks.Callback):
    """Writes entropy, cost and genotype to `search.csv` after every epoch."""

    def __init__(self, trainer: Trainer, path: Path, done: int) -> None:
        super().__init__()
        self.path, self.trainer = path, trainer
        there = read_rows(path) if done and path.is_file() else []
        self.rows: list[dict[str, Any]] = [row for row in there if int(row["epoch"]) <= done]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        network: Any = self.trainer.network
        architecture = next(p for p in self.trainer.problems if p.name == "architecture")
        last, genotype = (architecture.trajectory or [{}])[-1], network.genotype()
        weights = {k: v for k, v in self.trainer.values().items() if k.startswith("weight_")}
        self.rows.append(
            {
                "epoch": epoch + 1,
                "entropy": round(network.entropy(), 6),
                "cost": round(last.get("cost", 1.0), 6),
                "skips": round(network.share("skip"), 6),
                **{k: round(v, 6) for k, v in weights.items()},
                **{f"F{s}": " ".join(c) for s, c in sorted(genotype.features.items())},
                **{f"D{s}": " ".join(c) for s, c in sorted(genotype.deformation.items())},
            }
        )
        write_csv(self.path, self.rows)


def gradient_search(
    config: SearchConfig, data: TrainingData, budget: TimeBudget, seconds: float, quiet: bool = False
) -> SupernetResult:
    """Optimise loss weights, architecture and network weights in one run.

    Args:
        config: Configuration of the search.
        data: Training pairs, and validation pairs for the outer problems, on the grid of the candidates.
        budget: Records the time used, under ``"gradient"``.
        seconds: Time available; `search_steps` takes precedence if given.
        quiet: Suppress messages and progress bars.

    Returns:
        Architecture, loss weights and supernet.

    Raises:
        InputError: The time is too short for one epoch.
    """
    folder = Path(config.budget.out, PART)
    folder.mkdir(parents=True, exist_ok=True)
    budget.begin(PART)
    keras.utils.set_random_seed(config.device.seed)
    candidates, data = data, _coarser(config, data)
    energy = make_energy(config.training(outer_loss="dice"))
    network = make_supernet(config, data, energy)
    trainer = _make_trainer(config, candidates, data, network, energy)
    start = newest_checkpoint(folder)
    epochs = _epochs(config, trainer, data, folder, seconds - budget.used(PART))
    steps = epochs * config.optimization.steps_per_epoch
    for problem in trainer.problems:
        problem.warmup = int(config.architecture.warmup_share * steps)
    done = 0
    if start is not None:
        load_weights(network, start[0])
        restore_state(start[0], trainer.state_variables)
        done = start[1]
    run = config.training(str(folder), epochs, outer_loss="dice").with_(val_every=MANY)
    callbacks = [
        _Trajectory(trainer, folder / "search.csv", done),
        _Schedule(network, budget, config, epochs, seconds),
        CheckpointCallback(run, trainer, None, done, quiet),
    ]
    trainer.fit(
        data.pairs,
        epochs=epochs,
        steps_per_epoch=config.optimization.steps_per_epoch,
        batch_size=config.optimization.batch_size,
        callbacks=callbacks,
        initial_epoch=done,
    )
    weights = {k.removeprefix("weight_"): v for k, v in trainer.values().items() if k.startswith("weight_")}
    return SupernetResult(network.genotype(), weights, network)


def _own_grid(config: SearchConfig) -> SearchConfig:
    """The configuration with the voxel size of the supernet."""
    coarse = config.budget.search_spacing
    return config.with_(spacing=coarse, shape=None) if coarse else config


def _coarser(config: SearchConfig, data: TrainingData) -> TrainingData:
    """The same pairs, resampled to `search_spacing`."""
    if not config.budget.search_spacing:
        return data
    labelled = data.outer_pairs is not None and bool(data.outer_pairs.label_values)
    return open_data(_own_grid(config).training(outer_loss="dice" if labelled else "label-free"))


def make_supernet(config: SearchConfig, data: TrainingData, energy: Energy) -> AutoRegNetwork:
    """Build the supernet, conditioned on the loss weights if they are tuned by its response."""
    shape, space = data.pairs.shape, config.space
    response = config.tuning.hypergradient == RESPONSE
    tuned = [n for n in energy.weights if n not in config.tuning.freeze] if response else []
    network = AutoRegNetwork.space(
        len(shape),
        space.scales,
        space.operations,
        space.layers,
        widths(space.filters, space.scales),
        max(space.steps),
        int_steps=space.int_steps,
        conditions=len(tuned),
        **shared_options(_own_grid(config).training(), shape, data.pairs.channels),
    )
    network.build()
    network.objective = energy.get_config()
    return network


def _make_trainer(
    config: SearchConfig,
    candidates: TrainingData,
    data: TrainingData,
    network: AutoRegNetwork,
    energy: Energy,
) -> Trainer:
    plan = config.training(outer_loss="dice")
    problems = _outer_problems(config, candidates, data, network, energy)
    trainer = Trainer(network, energy, problems, make_augmentation(plan), config.device.seed)
    return trainer.compile(make_optimizer(plan), xla=config.device.xla)


def _outer_problems(
    config: SearchConfig,
    candidates: TrainingData,
    data: TrainingData,
    network: AutoRegNetwork,
    energy: Energy,
) -> list[OuterProblem]:
    """The outer problems: architecture, topology and loss weights."""
    pairs, own = data.outer_pairs, config.architecture
    if pairs is None or not isinstance(energy.weights, LossWeights):
        raise ValueError("a search needs validation pairs and loss weights that can be tuned")
    plan = config.training(outer_loss="dice")
    cost, every = _cost(config, candidates, network), own.architecture_every
    optimizer = keras.optimizers.Adam(own.architecture_lr)
    architecture = ArchitectureProblem(network, energy, pairs, optimizer=optimizer, cost=cost, every=every)
    topology = TopologyProblem(network, energy, pairs, cost=cost, every=every)
    objective: OuterObjective = LabelFreeObjective(config.objective.window)
    if pairs.label_values:
        objective = DiceObjective(guarded=True)
    parts = (energy.weights, pairs, objective)
    options = {"optimizer": make_outer_optimizer(plan), "every": config.tuning.outer_every}
    weights: OuterProblem
    if config.tuning.hypergradient == RESPONSE:
        weights = ConditionalLossWeightProblem(network, *parts, **options)
    else:
        weights = LossWeightProblem(*parts, config.tuning.hypergradient, **options)
    return [architecture, topology, weights]


def _cost(config: SearchConfig, data: TrainingData, network: AutoRegNetwork) -> ArchitectureCost:
    own = config.architecture
    if not own.latency_weight and not own.target_ms:
        return ArchitectureCost(network)
    costs = operation_costs(network, data.pairs.shape)
    most = below_target(config, data, costs) if own.target_ms else 0.0
    return ArchitectureCost(network, own.latency_weight or 1.0, costs, most)


def below_target(config: SearchConfig, data: TrainingData, costs: Mapping[tuple[int, str], float]) -> float:
    """The part of `target_ms` left for cells and stages, after everything else that a network computes.

    Raises:
        InputError: Nothing is left.
    """
    space, target = config.space, config.architecture.target_ms
    plain = Genotype.uniform(space.operations[0], space.scales, 1, widths(space.filters, space.scales))
    network = candidate_network(config, data, plain)
    network.build()
    rest = network_ms(network, data.pairs.shape) - expected_ms(network, costs)
    if target <= rest:
        came = f"{target:g}, {rest:.0f} of which a network of these scales needs beside its cells"
        raise fail("target_ms", came, "more", f"or choose fewer {argument('scales')}")
    return target - max(0.0, rest)


def _epochs(config: SearchConfig, trainer: Trainer, data: TrainingData, folder: Path, seconds: float) -> int:
    """Number of epochs that fit into the time, measured once; a resumed run keeps the plan."""
    steps = config.optimization.steps_per_epoch
    if config.budget.search_steps:
        return max(1, -(-config.budget.search_steps // steps))
    path = folder / PLAN
    if path.is_file():
        return int(read_json(path, "a plan")["epochs"])
    began = time.monotonic()
    pace = trainer.seconds_per_step(data.pairs, config.optimization.batch_size)
    left, epoch = seconds - (time.monotonic() - began), pace * steps
    if epoch > left:
        came = f"{config.budget.budget}, {max(0, left):.0f} s of which are left for the supernet"
        fewer = f"{argument('steps_per_epoch')}, {argument('operations')} or {argument('layers')}"
        raise fail("budget", came, f"{epoch:.0f} s for an epoch at least", f"increase it, or reduce {fewer}")
    epochs = int(left / epoch)
    write_json(path, {"epochs": epochs, "seconds_a_step": round(pace, 4)})
    return epochs
