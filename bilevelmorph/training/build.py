"""Builds the parts of a training run from its configuration."""

from __future__ import annotations

from typing import Any

import keras

from bilevelmorph.config import TrainingConfig
from bilevelmorph.errors import fail, positive
from bilevelmorph.io.json import read_json
from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.registry import OUTER_OBJECTIVES
from bilevelmorph.training.augmentation import Augmentation
from bilevelmorph.training.feature_problem import FeatureProblem
from bilevelmorph.training.loss_weight_problem import LossWeightProblem
from bilevelmorph.training.loss_weights import LossWeights
from bilevelmorph.training.outer_objective import OuterObjective
from bilevelmorph.training.outer_problem import OuterProblem, outer_adam
from bilevelmorph.training.pair_provider import PairProvider
from bilevelmorph.training.trainer import Trainer

# The argument that adds each term of the objective.
_ARGUMENTS = {
    "kl": "use_probs",
    "feature_kl": "probabilistic",
    "dice": "dice_weight",
    "folding": "folding_weight",
}


def make_energy(config: TrainingConfig) -> Energy:
    """Build the training objective."""
    weights: Any = {"similarity": 1.0}
    objective, extra = config.objective, config.extra_terms
    weights["kl" if config.network.use_probs else "regularity"] = objective.lambda_weight
    for i, weight in enumerate(objective.stage_weights, 1):
        weights[f"similarity_{2**i}"] = weight
    if objective.folding_weight:
        weights["folding"] = objective.folding_weight
    if config.network.probabilistic:
        weights["feature_kl"] = extra.feature_kl
    if extra.dice_weight:
        weights["dice"] = extra.dice_weight
    if objective.loss_weights:
        weights |= _read_weights(objective.loss_weights, weights)
    if config.bilevel.enabled:
        weights = LossWeights(weights, config.bilevel.tuning.freeze)
    return Energy(
        "position" if config.scans.synthetic else objective.image_loss,
        objective.window,
        objective.regularity,
        weights,
        extra.bidir,
        extra.image_sigma,
        extra.kl_lambda,
    )


def _read_weights(path: str, known: dict[str, float]) -> dict[str, float]:
    content = read_json(path, "weights by name")
    if not isinstance(content, dict):
        raise fail(path, "no table of weights", 'a JSON such as {"regularity": 1.0}')
    for name, value in content.items():
        if name not in known:
            raise fail(path, f"a weight of {name}", f"weights of {', '.join(known)} in this run")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise fail(f"{path}, {name}", repr(value), "a number")
        positive(f"{path}, {name}", value, zero=True)
    return content


def check_terms(energy: Energy, network: RegistrationNetwork) -> None:
    """Reject terms that the network does not provide, because they would be ignored."""
    for name, weight in energy.weights.items():
        if name not in network.terms and float(weight):
            stage = name.startswith("similarity_")
            what = "stage_weights" if stage else _ARGUMENTS.get(name, name)
            came = f"a weight of {name} for a {type(network).__name__}"
            raise fail(what, came, f"terms that it provides: {', '.join(sorted(network.terms))}")


def make_trainer(
    config: TrainingConfig,
    network: RegistrationNetwork,
    energy: Energy,
    outer_pairs: PairProvider | None = None,
) -> Trainer:
    """Build and compile the trainer.

    Args:
        config: Configuration of the run.
        network, energy: Network and objective, built from the same configuration.
        outer_pairs: Pairs of the outer problems, for bilevel training.
    """
    problems = make_problems(config, network, energy, outer_pairs) if config.bilevel.enabled else []
    trainer = Trainer(network, energy, problems, make_augmentation(config), config.device.seed)
    return trainer.compile(make_optimizer(config), config.schedule.alternate, config.device.xla)


def make_problems(
    config: TrainingConfig, network: RegistrationNetwork, energy: Energy, pairs: PairProvider | None
) -> list[OuterProblem]:
    """Build the outer problems of a bilevel run: loss weights and, if requested, features."""
    bilevel = config.bilevel
    objective = make_outer_objective(config, energy)
    if not isinstance(energy.weights, LossWeights):
        raise fail("weights", type(energy.weights).__name__, "LossWeights, which can be tuned")
    problems: list[OuterProblem] = [
        LossWeightProblem(
            energy.weights,
            pairs,
            objective,
            bilevel.tuning.hypergradient,
            make_outer_optimizer(config),
            bilevel.tuning.outer_every,
            bilevel.bilevel_warmup,
        )
    ]
    if bilevel.outer_features:
        options = {"every": bilevel.outer_features, "warmup": bilevel.bilevel_warmup}
        problems.append(FeatureProblem(network, pairs, objective, bilevel.outer_part, **options))
    return problems


def make_outer_objective(config: TrainingConfig, energy: Energy, **options: Any) -> OuterObjective:
    """Build the objective of the outer problems."""
    given = {"window": config.objective.window, "energy": energy, **options}
    return OUTER_OBJECTIVES.make(config.bilevel.outer_loss, **given)


def make_optimizer(config: TrainingConfig) -> keras.optimizers.Optimizer:
    """Build Adam for the network's weights, with a constant rate or cosine decay to a hundredth."""
    schedule, optimization = config.schedule, config.optimization
    steps = schedule.epochs * optimization.steps_per_epoch // (2 if schedule.alternate else 1)
    average = {"use_ema": bool(config.ema_momentum), "ema_momentum": config.ema_momentum}
    clip = optimization.clip_norm or None
    return keras.optimizers.Adam(_rate(config, optimization.lr, steps), global_clipnorm=clip, **average)


def make_outer_optimizer(config: TrainingConfig) -> keras.optimizers.Optimizer:
    """Build Adam for the logarithms of the loss weights, with the same kind of schedule."""
    tuning, steps = config.bilevel.tuning, config.schedule.epochs * config.optimization.steps_per_epoch
    steps = (steps - config.bilevel.bilevel_warmup) // tuning.outer_every
    return outer_adam(_rate(config, tuning.outer_lr, max(1, steps)))


def _rate(config: TrainingConfig, rate: float, steps: int) -> Any:
    if config.schedule.lr_schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.01)
    return rate


def make_augmentation(config: TrainingConfig) -> Augmentation:
    """Build the augmentation."""
    a = config.augmentation
    return Augmentation(
        a.augment_affine, a.augment_shift, a.augment_intensity, a.augment_contrast, a.augment_flip
    )
