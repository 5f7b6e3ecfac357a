"""Make an unbiased template of a folder of scans, and a network that registers it with them."""

from __future__ import annotations

import argparse

from bilevelmorph.cli.flags import (
    data_flags,
    network_flags,
    objective_flags,
    optimisation_flags,
    run_flags,
)
from bilevelmorph.config import TrainingConfig

_DATA = ("--img-list", "--img-prefix", "--img-suffix", "--data", "--multichannel", "--shape", "--spacing")
_OPTIMISATION = (
    "--batch-size",
    "--epochs",
    "--steps-per-epoch",
    "--load-weights",
    "--initial-epoch",
    "--resume",
    "--lr",
    "--lr-schedule",
    "--clip-norm",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """VoxelMorph's flags, and those of training."""
    d = TrainingConfig()
    data_flags(parser, d, (*_DATA, "--percentiles"))
    add = parser.add_argument_group("template").add_argument
    add("--init-template", help="image to begin with (default: the mean of the first hundred scans)")
    add(
        "--image-loss-weight",
        type=float,
        default=0.5,
        help="share of the similarity on the side of the scans",
    )
    add("--mean-loss-weight", type=float, default=1.0, help="weight of the squared mean displacement")
    run_flags(parser, d)
    optimisation_flags(parser, d, _OPTIMISATION)
    network_flags(parser, d)
    objective_flags(parser, d, ("--image-loss", "--window", "--regularity", "--lambda"))


def run(options: argparse.Namespace) -> None:
    """Make a template."""
    values = {k: v for k, v in vars(options).items() if k != "quiet"}
    from bilevelmorph.devices import choose_gpu, use_threads

    choose_gpu(options.gpu)
    use_threads(options.threads)
    from bilevelmorph.training.template import TemplateConfig, make_template

    make_template(TemplateConfig.from_dict(values, "flags"), options.quiet)
    print(f"{options.model_dir}/template.nii.gz; checkpoints and log beside it")
