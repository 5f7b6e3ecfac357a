"""A training run from its configuration: data, network, objective, checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from bilevelmorph.bilevel import STRATEGIES
from bilevelmorph.checks import InputError, fail, one_of, positive
from bilevelmorph.config import TrainingConfig
from bilevelmorph.losses.energy import Energy
from bilevelmorph.networks.base import RegistrationNetwork
from bilevelmorph.networks.build import build_network
from bilevelmorph.networks.weights import load_weights
from bilevelmorph.training.augmentation import Augmentation
from bilevelmorph.training.bilevel_trainer import PARTS, BilevelTrainer
from bilevelmorph.training.data import open_data
from bilevelmorph.training.level import upper_adam
from bilevelmorph.training.loss_weights import LossWeights
from bilevelmorph.training.recorder import Recorder
from bilevelmorph.training.state import newest_checkpoint, restore_state
from bilevelmorph.training.trainer import Diverged, Trainer
from bilevelmorph.training.upper_objective import UPPER, UpperObjective
from bilevelmorph.volumes.tables import read_json


def train(config: TrainingConfig, quiet: bool = False) -> RegistrationNetwork:
    """Train a network and leave checkpoints, logs and the configuration in its folder.

    Args:
        config: Of the run.
        quiet: No progress bars.

    Returns:
        The trained network.

    Raises:
        InputError: Data or values that cannot be used, or a run that diverged.
    """
    check(config)
    keras.utils.set_random_seed(config.seed)
    data = open_data(config)
    run = prepare(config, data.source)
    trainer = make_trainer(config, run.network, run.energy)
    recorder = Recorder(config, trainer, data.validation, run.initial_epoch, quiet)
    held = {"upper_source": data.upper} if config.bilevel else {}
    fit(config, run, trainer, data.source, [recorder], **held)
    return run.network


class Prepared(NamedTuple):
    """What a run begins with.

    Attributes:
        network: With the weights that the run starts from.
        energy: The objective.
        start: The file that they came from.
        initial_epoch: Epochs that are behind it.

    >>> import tempfile
    >>> from types import SimpleNamespace
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     config = TrainingConfig(model_dir=folder, enc=(4,), dec=(4, 4))
    ...     run = prepare(config, SimpleNamespace(shape=(16, 16), channels=1))
    >>> run.network.ndims, run.energy.weights["regularity"], run.start, run.initial_epoch
    (2, 0.01, None, 0)
    """

    network: RegistrationNetwork
    energy: Energy
    start: Path | None
    initial_epoch: int


def prepare(config: TrainingConfig, source: Any) -> Prepared:
    """Make the folder, the network and the objective of a run on these pairs."""
    folder = Path(config.model_dir)
    folder.mkdir(parents=True, exist_ok=True)
    start, initial_epoch = starting_point(config, folder)
    network = build_network(config, source.shape, source.channels)
    network.build()
    if start is not None:
        load_weights(network, start)
    energy = make_energy(config)
    # What single pairs are refined by; positions are known of synthetic pairs alone.
    network.objective = energy.get_config() | ({"similarity": "mind"} if config.synthetic else {})
    return Prepared(network, energy, start, initial_epoch)


def fit(
    config: TrainingConfig,
    run: Prepared,
    trainer: Trainer,
    source: Any,
    callbacks: Sequence[keras.callbacks.Callback],
    **held: Any,
) -> None:
    """Train from where a run stands to its last epoch; `held` goes to the trainer's `fit`."""
    if run.start is not None and run.initial_epoch:
        restore_state(run.start, trainer.state_variables)
    config.save(Path(config.model_dir) / "config.json")
    try:
        trainer.fit(
            source,
            epochs=config.epochs,
            steps_per_epoch=config.steps_per_epoch,
            batch_size=config.batch_size,
            callbacks=callbacks,
            initial_epoch=run.initial_epoch,
            **held,
        )
    except Diverged as error:
        raise InputError(f"training diverged: {error}; {_advice(config)}") from error


def _advice(config: TrainingConfig) -> str:
    if newest_checkpoint(Path(config.model_dir)):
        good = f"the last checkpoint in {config.model_dir} is good, go on from it"
    else:
        good = "begin again"
    return f"{good} with a lower --lr than {config.lr:g}"


def make_energy(config: TrainingConfig) -> Energy:
    """The objective of a configuration."""
    weights: Any = {"similarity": 1.0}
    if config.use_probs:
        weights["kl"] = config.lambda_weight
    else:
        weights["regularity"] = config.lambda_weight
    for i, weight in enumerate(config.stage_weights, 1):
        weights[f"similarity_{2**i}"] = weight
    if config.folding_weight:
        weights["folding"] = config.folding_weight
    if config.probabilistic:
        weights["feature_kl"] = config.feature_kl
    if config.dice_weight:
        weights["dice"] = config.dice_weight
    if config.loss_weights:
        weights |= _read_weights(config.loss_weights, weights)
    if config.bilevel:
        weights = LossWeights(weights, config.freeze)
    return Energy(
        "position" if config.synthetic else config.image_loss,
        config.window,
        config.regularity,
        weights,
        config.bidir,
        config.image_sigma,
        config.kl_lambda,
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


def make_trainer(config: TrainingConfig, network: RegistrationNetwork, energy: Energy) -> Trainer:
    """The compiled trainer of a configuration."""
    parts = (network, energy, augmentation_of(config), config.seed)
    if not config.bilevel:
        trainer = Trainer(*parts)
        trainer.compile(make_optimizer(config), config.alternate)
        return trainer

    def weighted(fields: Any, batch: Any) -> Any:
        return energy.total(energy.terms(fields, batch["moving"], batch["fixed"]))

    bilevel = BilevelTrainer(*parts)
    bilevel.compile(
        make_optimizer(config),
        UpperObjective(config.upper, config.window, weighted),
        STRATEGIES[config.strategy](),
        make_upper_optimizer(config),
        config.upper_every,
        config.warmup,
        config.upper_features,
        config.upper_part,
    )
    return bilevel


def make_optimizer(config: TrainingConfig) -> keras.optimizers.Optimizer:
    """Adam of the network's weights, at a constant rate or on a cosine down to a hundredth."""
    steps = config.epochs * config.steps_per_epoch // (2 if config.alternate else 1)
    momentum = config.momentum_of_average
    average = {"use_ema": bool(momentum), "ema_momentum": momentum}
    clip = config.clip_norm or None
    return keras.optimizers.Adam(_rate(config, config.lr, steps), global_clipnorm=clip, **average)


def make_upper_optimizer(config: TrainingConfig) -> keras.optimizers.Optimizer:
    """Adam of the logarithms of the loss weights, on the same schedule."""
    steps = (config.epochs * config.steps_per_epoch - config.warmup) // config.upper_every
    return upper_adam(_rate(config, config.upper_lr, max(1, steps)))


def _rate(config: TrainingConfig, rate: float, steps: int) -> Any:
    if config.lr_schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.01)
    return rate


def augmentation_of(config: TrainingConfig) -> Augmentation:
    """The augmentation of a configuration."""
    return Augmentation(config.augment_affine, config.augment_shift, config.augment_intensity)


def check(config: TrainingConfig) -> None:
    """Refuse values that cannot work, before anything is opened."""
    sources = [bool(config.img_list), bool(config.data), config.synthetic]
    if sum(sources) != 1:
        raise fail("training data", f"{sum(sources)} sources", "one of --img-list, --data, --synthetic")
    for name in ("batch_size", "epochs", "steps_per_epoch", "val_every"):
        positive("--" + name.replace("_", "-"), getattr(config, name), whole=True)
    positive("--lr", config.lr)
    positive("--spacing", config.spacing, zero=True)
    positive("--lambda", config.lambda_weight, zero=True)
    one_of("--lr-schedule", config.lr_schedule, ("constant", "cosine"))
    positive("--int-downsize", config.int_downsize, whole=True)
    for name in ("initial_epoch", "int_steps", "val_pairs", "threads", "seed", "alternate"):
        positive("--" + name.replace("_", "-"), getattr(config, name), zero=True, whole=True)
    for name in ("clip_norm", "augment_affine", "augment_shift", "augment_intensity", "folding_weight"):
        positive("--" + name.replace("_", "-"), getattr(config, name), zero=True)
    if config.ema is not None and not 0 <= config.ema < 1:
        raise fail("--ema", config.ema, "a number from 0 to below 1, such as 0.99")
    _check_network(config)
    if config.window < 1 or config.window % 2 == 0:
        raise fail("--window", config.window, "an odd number of voxels, such as 9")
    positive("--legacy-image-sigma", config.image_sigma)
    positive("--dice-weight", config.dice_weight, zero=True)
    positive("--feature-kl", config.feature_kl, zero=True)
    _check_bilevel(config)
    low, high = config.percentiles
    if not 0 <= low < high <= 100:
        raise fail("--percentiles", f"{low:g} {high:g}", "two rising numbers from 0 to 100")
    if config.seed >= 2**31:
        raise fail("--seed", config.seed, "a number below 2147483648")


def _check_network(config: TrainingConfig) -> None:
    for name in ("enc", "dec", "matching", "regularization", "shape"):
        for value in getattr(config, name) or ():
            positive(f"--{name}", value, whole=True)
    for value in (v for widths in config.encoder for v in widths):
        positive("--encoder", value, whole=True)
    for value in config.radius:
        positive("--radius", value, zero=True, whole=True)
    for value in config.steps:
        positive("--steps", value, whole=True)
    if config.network != "propagation":
        for name in ("alternate", "probabilistic"):
            if getattr(config, name):
                raise fail(f"--{name}", f"--network {config.network}", "--network propagation")


def _check_bilevel(config: TrainingConfig) -> None:
    if not config.bilevel:
        return
    if config.alternate:
        raise fail("--alternate", f"{config.alternate} with --bilevel", "one of the two")
    one_of("--upper", config.upper, UPPER)
    one_of("--strategy", config.strategy, STRATEGIES)
    positive("--upper-lr", config.upper_lr)
    positive("--upper-every", config.upper_every, whole=True)
    positive("--warmup", config.warmup, zero=True, whole=True)
    one_of("--upper-part", config.upper_part, PARTS)
    positive("--upper-features", config.upper_features, zero=True, whole=True)
    if config.upper_features and config.upper_part == "features":
        one_of("--network, with --upper-features,", config.network, ("propagation",))
    if not config.data:
        raise fail("--bilevel", "no validation pairs", "--data DIR, whose dataset.json names some")
    make_energy(config)  # refuses start weights of zero and names that are not there


def starting_point(config: TrainingConfig, folder: Path) -> tuple[Path | None, int]:
    """The file that a run begins with, and the epochs that are behind it."""
    if config.resume:
        found = newest_checkpoint(folder)
        return found if found else (None, 0)
    if config.load_weights:
        path = Path(config.load_weights)
        if not path.is_file():
            raise fail("--load-weights", f"{path}, which does not exist", "a .keras or .h5 file")
        return path, config.initial_epoch
    return None, config.initial_epoch
