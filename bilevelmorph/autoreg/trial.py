"""Candidates of a search: short training and scoring."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras

from bilevelmorph.autoreg.latency import network_ms
from bilevelmorph.config import SearchConfig, TrainingConfig
from bilevelmorph.networks.autoreg_network import AutoRegNetwork
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.networks.build import shared_options
from bilevelmorph.networks.genotype import Genotype
from bilevelmorph.training.build import make_augmentation, make_energy, make_optimizer
from bilevelmorph.training.data import TrainingData, open_data
from bilevelmorph.training.outer_objective import LabelFreeObjective
from bilevelmorph.training.trainer import Trainer


@dataclass(frozen=True)
class Candidate:
    """An architecture with loss weights, and its score after a short training.

    Attributes:
        name: Name of its row in the report.
        genotype: The architecture.
        weights: The loss weights, by name.
        score: On validation pairs, larger is better: mean Dice, or without labels
            the negated label-free objective.
        ms: Time of one forward pass for one pair.
        seconds: Duration of the trial.

    >>> import dataclasses
    >>> genotype = Genotype.uniform("conv1", (2,), 1)
    >>> good = Candidate("good", genotype, {"regularity": 0.1}, score=0.8, ms=5.0, seconds=60.0)
    >>> poor = dataclasses.replace(good, name="poor", score=0.7)
    >>> [c.name for c in ranked([poor, good])], [c.name for c in ranked([poor, good], most=4.0)]
    (['good', 'poor'], ['good', 'poor'])
    """

    name: str
    genotype: Genotype
    weights: Mapping[str, float]
    score: float
    ms: float
    seconds: float

    @property
    def by_gradients(self) -> bool:
        """Whether the gradient searcher tried the candidate; this includes the plain network."""
        return self.name.startswith("gradient")


def ranked(candidates: Sequence[Candidate], most: float = 0.0) -> list[Candidate]:
    """Sort candidates, the best first; ties are broken by name, because files are read in any order.

    Args:
        candidates: The candidates.
        most: Time limit of a forward pass, milliseconds; slower candidates come last. 0 for no limit.
    """
    return sorted(candidates, key=lambda c: (0 < most < c.ms, -c.score, c.name))


def score(data: TrainingData, network: RegistrationNetwork) -> float:
    """Mean Dice on validation pairs; without labels, the negated label-free objective on them."""
    if data.validation is not None:
        return data.validation(network)["val_dice"]
    if data.outer_pairs is None:
        raise ValueError("a search needs validation pairs")
    objective, values = LabelFreeObjective(), []
    for _, batch in data.outer_pairs.dataset(0, len(data.outer_pairs.pairs), 1):
        deformation = network.deform(batch["moving"], batch["fixed"], training=False)
        values.append(float(objective(deformation, batch)))
    return -sum(values) / len(values)


def open_search_data(config: SearchConfig, labelled: bool) -> TrainingData:
    """Open the pairs of a search: training pairs, and validation pairs for the outer problems.

    Args:
        config: Configuration of the search.
        labelled: Whether the validation pairs have label maps, which the outer problems then use.
    """
    return open_data(config.training(outer_loss="dice" if labelled else "label-free"))


def trial_config(config: SearchConfig) -> TrainingConfig:
    """The training configuration of a candidate: fixed loss weights, cosine schedule over the trial."""
    epochs = max(1, -(-config.budget.trial_steps // config.optimization.steps_per_epoch))
    return config.training(epochs=epochs, lr_schedule="cosine")


def candidate_network(config: SearchConfig, data: TrainingData, genotype: Genotype) -> AutoRegNetwork:
    """Create the untrained network of a genotype for these data."""
    shape = data.pairs.shape
    shared = shared_options(config.training(), shape, data.pairs.channels)
    return AutoRegNetwork.of(genotype, len(shape), int_steps=config.space.int_steps, **shared)


def run_trial(
    config: SearchConfig,
    data: TrainingData,
    genotype: Genotype,
    weights: Mapping[str, float],
    epochs: int = 0,
    initial_epoch: int = 0,
    start: str | None = None,
    end: str | None = None,
) -> dict[str, float]:
    """Train a candidate for `trial_steps` and score it.

    Args:
        config: Configuration of the search.
        data: Training and validation pairs.
        genotype: Architecture of the network.
        weights: Loss weights.
        epochs, initial_epoch, start, end: See `TrialWorker`.

    Returns:
        ``score``, ``ms`` and ``seconds``, see `Candidate`.
    """
    began, own = time.perf_counter(), trial_config(config)
    keras.backend.clear_session()
    keras.utils.set_random_seed(config.device.seed)
    network = candidate_network(config, data, genotype)
    network.build()
    if start:
        network.load_weights(start)
    energy = make_energy(own)
    energy.weights = dict(weights)
    trainer = Trainer(network, energy, augmentation=make_augmentation(own), seed=own.device.seed)
    trainer.compile(make_optimizer(own), xla=own.device.xla)
    count = (own.optimization.steps_per_epoch, own.optimization.batch_size)
    trainer.fit(data.pairs, epochs or own.schedule.epochs, *count, initial_epoch=initial_epoch)
    if end:
        network.save_weights(end)
    found = score(data, network)
    ms = network_ms(network, data.pairs.shape)
    return {"score": found, "ms": ms, "seconds": time.perf_counter() - began}
