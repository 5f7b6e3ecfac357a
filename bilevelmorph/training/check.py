"""Checks of a training configuration, before any file is opened."""

from __future__ import annotations

from bilevelmorph.config import (
    AugmentationConfig,
    BilevelConfig,
    DeviceConfig,
    ExtraTermsConfig,
    NetworkConfig,
    ObjectiveConfig,
    OptimizationConfig,
    PreprocessingConfig,
    ScheduleConfig,
    TrainingConfig,
)
from bilevelmorph.errors import argument, fail, one_of, positive
from bilevelmorph.networks.build import check_options, network_class
from bilevelmorph.registry import LOSSES, METHODS, OUTER_OBJECTIVES, REGULARIZERS
from bilevelmorph.training.build import make_energy
from bilevelmorph.training.feature_problem import PARTS
from bilevelmorph.training.mix_source import MixSource


def check(config: TrainingConfig) -> None:
    """Reject invalid values.

    Raises:
        InputError: A value is invalid; the message names the argument.
    """
    scans = config.scans
    given = [bool(scans.img_list), bool(scans.folder), scans.synthetic, bool(scans.mix)]
    if sum(given) != 1:
        names = ", ".join(argument(n) for n in ("img_list", "data", "synthetic", "mix"))
        expected = f"one of {names}"
        raise fail("training data", f"{sum(given)} sources", expected)
    positive("val_pairs", config.validation.val_pairs, zero=True, whole=True)
    positive("val_every", config.validation.val_every, whole=True)
    check_preprocessing(config.preprocessing)
    check_augmentation(config.augmentation)
    check_device(config.device)
    check_optimization(config.optimization)
    _check_schedule(config.schedule)
    _check_network(config.network)
    check_objective(config.objective)
    _check_extra_terms(config.extra_terms)
    _check_bilevel(config.bilevel, config)
    _check_mix(config)


def check_preprocessing(config: PreprocessingConfig) -> None:
    """Reject invalid grids and percentiles."""
    positive("spacing", config.spacing, zero=True)
    for value in config.shape or ():
        positive("shape", value, whole=True)
    low, high = config.percentiles
    if not 0 <= low < high <= 100:
        raise fail("percentiles", f"{low:g} {high:g}", "two increasing numbers from 0 to 100")


def check_augmentation(config: AugmentationConfig) -> None:
    """Reject negative strengths of augmentation, and probabilities above 1."""
    for name in ("augment_affine", "augment_shift", "augment_intensity"):
        positive(name, getattr(config, name), zero=True)
    for name in ("augment_contrast", "augment_flip"):
        if not 0 <= getattr(config, name) <= 1:
            raise fail(name, getattr(config, name), "a probability from 0 to 1")


def check_device(config: DeviceConfig) -> None:
    """Reject invalid thread counts and seeds."""
    for name in ("threads", "seed"):
        positive(name, getattr(config, name), zero=True, whole=True)
    if config.seed >= 2**31:
        raise fail("seed", config.seed, "a number below 2147483648")


def check_optimization(config: OptimizationConfig) -> None:
    """Reject invalid optimiser settings."""
    for name in ("batch_size", "steps_per_epoch"):
        positive(name, getattr(config, name), whole=True)
    positive("lr", config.lr)
    positive("clip_norm", config.clip_norm, zero=True)
    if config.ema is not None and not 0 <= config.ema < 1:
        raise fail("ema", config.ema, "a number from 0 to below 1, such as 0.99")


def check_objective(config: ObjectiveConfig) -> None:
    """Reject unknown losses, even window widths and negative weights."""
    LOSSES.find(config.image_loss)
    REGULARIZERS.find(config.regularity)
    if config.window < 1 or config.window % 2 == 0:
        raise fail("window", config.window, "an odd number of voxels, such as 9")
    positive("lambda_weight", config.lambda_weight, zero=True)
    positive("folding_weight", config.folding_weight, zero=True)


def _check_schedule(config: ScheduleConfig) -> None:
    positive("epochs", config.epochs, whole=True)
    for name in ("initial_epoch", "alternate"):
        positive(name, getattr(config, name), zero=True, whole=True)
    one_of("lr_schedule", config.lr_schedule, ("constant", "cosine"))


def _check_network(config: NetworkConfig) -> None:
    check_options(config)
    positive("int_downsize", config.int_downsize, whole=True)
    positive("int_steps", config.int_steps, zero=True, whole=True)
    for name in ("enc", "dec", "matching", "regularization", "steps"):
        for value in getattr(config, name):
            positive(name, value, whole=True)
    for value in (v for widths in config.encoder for v in widths):
        positive("encoder", value, whole=True)
    for value in config.radius:
        positive("radius", value, zero=True, whole=True)


def _check_extra_terms(config: ExtraTermsConfig) -> None:
    for name in ("dice_weight", "feature_kl"):
        positive(name, getattr(config, name), zero=True)
    for name in ("kl_lambda", "image_sigma"):
        positive(name, getattr(config, name))


def _check_bilevel(config: BilevelConfig, whole: TrainingConfig) -> None:
    if not config.enabled:
        return
    if whole.schedule.alternate:
        came = f"{whole.schedule.alternate}, and {argument('bilevel')}"
        raise fail("alternate", came, "only one of the two")
    OUTER_OBJECTIVES.find(config.outer_loss)
    METHODS.find(config.tuning.hypergradient)
    positive("outer_lr", config.tuning.outer_lr)
    positive("outer_every", config.tuning.outer_every, whole=True)
    positive("bilevel_warmup", config.bilevel_warmup, zero=True, whole=True)
    one_of("outer_part", config.outer_part, PARTS)
    positive("outer_features", config.outer_features, zero=True, whole=True)
    featureless = "encoder" not in network_class(whole.network).options()
    if config.outer_features and config.outer_part == "features" and featureless:
        came = f"network {whole.network.kind}"
        raise fail("outer_features", came, "a network with features, e.g. propagation")
    if not whole.scans.folder:
        expected = f"{argument('data')}, a folder whose dataset.json lists some"
        raise fail("bilevel", "no validation pairs", expected)
    make_energy(whole)  # rejects initial loss weights of zero and unknown names


def _check_mix(config: TrainingConfig) -> None:
    """Reject what a mixture of sources does not support."""
    scans = config.scans
    if not scans.mix:
        if config.augmentation.augment_crop:
            raise fail("augment_crop", "a value", f"no value without {argument('mix')}")
        return
    for text in scans.mix:
        MixSource.parse(text)
    if not config.preprocessing.shape:
        raise fail("shape", "nothing", f"the grid of the pairs of {argument('mix')}, such as 96 96 96")
    refused = (
        ("spacing", config.preprocessing.spacing),
        ("atlas", scans.atlas),
        ("multichannel", scans.multichannel),
        ("dice_weight", config.extra_terms.dice_weight),
    )
    for name, given in refused:
        if given:
            raise fail(name, "a value", f"no value with {argument('mix')}")
