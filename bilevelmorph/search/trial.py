"""One candidate, trained for a while and scored."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras

from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.networks.build import shared_options
from bilevelmorph.networks.cell_network import CellNetwork
from bilevelmorph.networks.genotype import Genotype
from bilevelmorph.search.config import SearchConfig
from bilevelmorph.search.latency import network_ms
from bilevelmorph.training.data import TrainingData
from bilevelmorph.training.run import augmentation_of, make_energy, make_optimizer
from bilevelmorph.training.trainer import Trainer
from bilevelmorph.training.upper_objective import UpperObjective


@dataclass(frozen=True)
class Candidate:
    """An architecture and loss weights, and how they did when trained for a while.

    Attributes:
        name: Of its row in the report.
        genotype: The architecture.
        weights: The loss weights, by name.
        score: On validation pairs, larger is better: mean Dice, or without labels
            the negated label-free objective.
        ms: One forward pass for one pair.
        seconds: That the trial took.

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
        """Whether the search by gradients tried it, what one begins with by hand too."""
        return self.name.startswith("gradient")


def ranked(candidates: Sequence[Candidate], most: float = 0.0) -> list[Candidate]:
    """The best first; of equals the first by name, for trials are read from files in any order.

    Args:
        candidates: To be ranked.
        most: Milliseconds; what takes longer comes after all that does not. 0 for any.
    """
    return sorted(candidates, key=lambda c: (0 < most < c.ms, -c.score, c.name))


def score(data: TrainingData, network: RegistrationNetwork) -> float:
    """Mean Dice on validation pairs; without labels, the negated label-free objective on them."""
    if data.validation is not None:
        return data.validation(network)["val_dice"]
    if data.upper is None:
        raise ValueError("a search needs validation pairs")
    objective, values = UpperObjective("label-free"), []
    for _, batch in data.upper.dataset(0, len(data.upper.pairs), 1):
        fields = network.fields(batch["moving"], batch["fixed"], training=False)
        values.append(float(objective(fields, batch)))
    return -sum(values) / len(values)


def trial_config(config: SearchConfig) -> SearchConfig:
    """What a candidate is trained by: weights that stay, a cosine over the trial."""
    epochs = max(1, -(-config.trial_steps // config.steps_per_epoch))
    return dataclasses.replace(config, bilevel=False, epochs=epochs, lr_schedule="cosine")


def candidate_network(config: SearchConfig, data: TrainingData, genotype: Genotype) -> CellNetwork:
    """The untrained network of a genotype, for these data."""
    shape = data.source.shape
    shared = shared_options(config, shape, data.source.channels)
    return CellNetwork.of(genotype, len(shape), int_steps=config.int_steps, **shared)


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
    """Train a candidate for `--trial-steps` and score it.

    Args:
        config: Of the search.
        data: Pairs.
        genotype: Of the network.
        weights: Of the objective.
        epochs, initial_epoch, start, end: See `TrialProcess`.

    Returns:
        ``score``, ``ms`` and ``seconds``, see `Candidate`.
    """
    began, own = time.perf_counter(), trial_config(config)
    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    network = candidate_network(config, data, genotype)
    network.build()
    if start:
        network.load_weights(start)
    energy = make_energy(own)
    energy.weights = dict(weights)
    trainer = Trainer(network, energy, augmentation_of(own), own.seed)
    trainer.compile(make_optimizer(own))
    count = (own.steps_per_epoch, own.batch_size)
    trainer.fit(data.source, epochs or own.epochs, *count, initial_epoch=initial_epoch)
    if end:
        network.save_weights(end)
    found = score(data, network)
    ms = network_ms(network, data.source.shape)
    return {"score": found, "ms": ms, "seconds": time.perf_counter() - began}
