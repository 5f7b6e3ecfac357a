"""Flags that commands share; destinations are fields of `TrainingConfig`, defaults those of the one given."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from typing import Any

from bilevelmorph.config import TrainingConfig

# Those of `bilevelmorph.bilevel`, which would import TensorFlow; a test compares them.
STRATEGIES = (
    "first-order",
    "one-step",
    "one-step-differences",
    "truncated",
    "neumann",
    "conjugate-gradient",
    "aligned",
)
# Those of `bilevelmorph.volumes.warps`; likewise.
WARP_FORMATS = ("voxelmorph", "itk")


def _widths(text: str) -> tuple[int, ...]:
    """``16,16`` as (16, 16) and ``-`` as ()."""
    if text == "-":
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as 16,16 (or - for none)") from None


def _adder(parser: argparse.ArgumentParser, title: str, only: Collection[str]) -> Callable[..., Any]:
    """Adds flags to a group; where `only` names some, no others."""
    group = parser.add_argument_group(title)

    def add(name: str, *others: str, **options: Any) -> None:
        if not only or name in only:
            group.add_argument(name, *others, **options)

    return add


def data_flags(parser: argparse.ArgumentParser, d: TrainingConfig, only: Collection[str] = ()) -> None:
    """Where pairs come from."""
    add = _adder(parser, "data (one of --img-list, --data, --synthetic)", only)
    add("--img-list", help="list of scans: one name a line (random pairs) or two (that pair), or a CSV")
    add("--img-prefix", default=d.img_prefix, help="put before every name")
    add("--img-suffix", default=d.img_suffix, help="put after every name")
    add("--seg-prefix", default=d.seg_prefix, help="put before every name of --img-list for its label map")
    add("--seg-suffix", default=d.seg_suffix, help="put after it; without either there are no label maps")
    add("--labels", help="npy or text: the label values that --dice-weight counts, for --img-list")
    add("--data", help="folder with a dataset.json (Decathlon, Learn2Reg)")
    add("--synthetic", action="store_true", help="random shapes and the MNI template, no scans at all")
    add("--atlas", help="scan that is always the fixed one")
    add("--multichannel", action="store_true", help="the last axis of every scan holds channels")
    add("--shape", type=int, nargs="+", help="grid that scans are centred in (default: fits them all)")
    add(
        "--spacing",
        type=float,
        default=d.spacing,
        help="mm of the cubic voxels to work in; 0 for the scans' own",
    )
    add("--percentiles", type=float, nargs=2, default=d.percentiles, help="intensities clipped to these")
    add("--val-pairs", type=int, default=d.val_pairs, help="validation pairs of --data; 0 for none")
    add("--val-every", type=int, default=d.val_every, help="epochs between validations")
    add("--augment-affine", type=float, default=d.augment_affine, help="s.d. of a random linear map")
    add("--augment-shift", type=float, default=d.augment_shift, help="s.d. of a random shift in voxels")
    add("--augment-intensity", type=float, default=d.augment_intensity, help="s.d. of log gamma")


def run_flags(parser: argparse.ArgumentParser, d: TrainingConfig, only: Collection[str] = ()) -> None:
    """Output, devices, seed."""
    add = _adder(parser, "output and devices", only)
    add("--model-dir", default=d.model_dir, help="folder for checkpoints, log.csv, tensorboard, config.json")
    add("--gpu", default=d.gpu, help="GPU numbers, comma separated; -1 for the CPU")
    add("--threads", type=int, default=d.threads, help="CPU threads an operation; 0 for all")
    add("--seed", type=int, default=d.seed, help="same seed, same bits on a CPU")
    add("--quiet", action="store_true", help="no progress bars")


def optimisation_flags(
    parser: argparse.ArgumentParser, d: TrainingConfig, only: Collection[str] = ()
) -> None:
    """How weights are moved."""
    add = _adder(parser, "optimisation", only)
    add("--batch-size", type=int, default=d.batch_size, help="pairs a step")
    add("--epochs", type=int, default=d.epochs, help="number of training epochs")
    add("--steps-per-epoch", type=int, default=d.steps_per_epoch, help="steps between checkpoints")
    add("--load-weights", help=".keras, or VoxelMorph's .h5, to start from")
    add("--initial-epoch", type=int, default=d.initial_epoch, help="epochs already done")
    add("--resume", action="store_true", help="go on from the newest checkpoint in --model-dir")
    add("--lr", type=float, default=d.lr, help="learning rate of Adam")
    add("--lr-schedule", choices=("constant", "cosine"), default=d.lr_schedule, help="over all --epochs")
    add(
        "--alternate",
        type=int,
        default=d.alternate,
        help="propagation: that many steps of the features, as many of the deformation; 0 for both at once",
    )
    add("--clip-norm", type=float, default=d.clip_norm, help="largest norm of the gradient; 0 for any")
    add(
        "--ema",
        type=float,
        help="momentum of a moving average of the network's weights, which is what is validated and saved, "
        "and where loss weights are tuned (default: 0.98 with --bilevel, else 0 for none)",
    )


def network_flags(parser: argparse.ArgumentParser, d: TrainingConfig, only: Collection[str] = ()) -> None:
    """The network that is trained."""
    add = _adder(parser, "network", only)
    add("--network", choices=("vxm", "propagation"), default=d.network, help="which family")
    add("--genotype", help="file of a search: the network of cells that it found, whatever --network says")
    add("--enc", type=int, nargs="+", default=d.enc, help="vxm: encoder filters")
    add("--dec", type=int, nargs="+", default=d.dec, help="vxm: decoder filters")
    add("--int-steps", type=int, default=d.int_steps, help="integration steps; 0 for a displacement")
    add("--int-downsize", type=int, default=d.int_downsize, help="vxm: resolution of integration")
    add("--use-probs", action="store_true", help="vxm: probabilistic velocity (VM-diff)")
    add("--bidir", action="store_true", help="compare both ways")
    add("--scales", type=int, nargs="+", default=d.scales, help="propagation: stages, coarse to fine")
    add(
        "--encoder",
        type=_widths,
        nargs="+",
        default=d.encoder,
        help="propagation: filters at 1/1, 1/2, 1/4 ..., as in: - 16,16 32,32",
    )
    add("--matching", type=int, nargs="+", default=d.matching, help="propagation: data-matching filters")
    add(
        "--regularization",
        type=int,
        nargs="*",
        default=d.regularization,
        help="propagation: regularisation filters",
    )
    add(
        "--guides",
        nargs="*",
        choices=("argmin", "gradient"),
        default=d.guides,
        help="propagation: steps by formula that the learned ones correct",
    )
    add("--steps", type=int, nargs="+", default=d.steps, help="propagation: iterations of each stage")
    add("--probabilistic", action="store_true", help="propagation: features are Gaussian (IJCAI 2020)")
    add("--descriptor", choices=("mind",), help="propagation: contrast-free input of the encoder")
    add("--radius", type=int, nargs="+", default=d.radius, help="propagation: search radius at each stage")


def objective_flags(parser: argparse.ArgumentParser, d: TrainingConfig, only: Collection[str] = ()) -> None:
    """The objective of training."""
    add = _adder(parser, "objective", only)
    add("--image-loss", choices=("mse", "ncc", "mind", "nmi"), default=d.image_loss, help="similarity")
    add("--window", type=int, default=d.window, help="ncc: window in voxels")
    add("--regularity", choices=("diffusion", "bending"), default=d.regularity, help="of the velocity")
    add(
        "--lambda",
        "--grad-loss-weight",
        dest="lambda_weight",
        type=float,
        default=d.lambda_weight,
        help="weight of regularity or KL",
    )
    add(
        "--stage-weights",
        type=float,
        nargs="*",
        default=d.stage_weights,
        help="propagation: weights of the similarity at 1/2, 1/4, ...",
    )
    add("--loss-weights", help="JSON of weights by name, such as a search leaves; stands above the flags")
    add("--folding-weight", type=float, default=d.folding_weight, help="weight of the folding penalty")
    add(
        "--dice-weight",
        "--dice-loss-weight",
        type=float,
        default=d.dice_weight,
        help="weight of soft Dice of training labels",
    )
    add("--feature-kl", type=float, default=d.feature_kl, help="weight of the KL of probabilistic features")
    add("--kl-lambda", type=float, default=d.kl_lambda, help="prior precision of the KL loss")
    add(
        "--legacy-image-sigma",
        dest="image_sigma",
        type=float,
        default=d.image_sigma,
        help="image noise of mse",
    )


def bilevel_flags(
    parser: argparse.ArgumentParser,
    d: TrainingConfig,
    only: Collection[str] = (),
    strategies: Collection[str] = STRATEGIES,
) -> None:
    """Loss weights tuned on validation pairs."""
    add = _adder(parser, "bilevel: loss weights tuned on validation pairs", only)
    add("--bilevel", action="store_true", help="tune the weights of the objective")
    add(
        "--upper",
        choices=("dice", "landmarks", "label-free", "weighted"),
        default=d.upper,
        help="what they are tuned for; weighted, the training objective itself, makes them drift",
    )
    add(
        "--strategy",
        default=d.strategy,
        choices=strategies,
        help="how the hypergradient is computed",
    )
    add("--upper-lr", type=float, default=d.upper_lr, help="learning rate of the weights' logarithms")
    add("--upper-every", type=int, default=d.upper_every, help="training steps for each step of the weights")
    add("--warmup", type=int, default=d.warmup, help="training steps before the weights begin to move")
    add(
        "--upper-features",
        type=int,
        default=d.upper_features,
        help="propagation: training steps for each step of the features, moved for --upper; 0: as the rest",
    )
    add(
        "--upper-part",
        choices=("features", "network"),
        default=d.upper_part,
        help="what --upper-features moves; network: all of it, in turn with training",
    )
    add("--freeze", nargs="*", default=d.freeze, help="weights that stay (Adam does not see the scale)")
