"""Train a registration network: VoxelMorph's flags and defaults, and ours."""

from __future__ import annotations

import argparse
from pathlib import Path

from bilevelmorph.checks import fail
from bilevelmorph.cli.flags import (
    bilevel_flags,
    data_flags,
    network_flags,
    objective_flags,
    optimisation_flags,
    run_flags,
)
from bilevelmorph.config import TrainingConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every flag; the destinations are the fields of `TrainingConfig`."""
    for add_flags in (
        data_flags,
        run_flags,
        optimisation_flags,
        network_flags,
        objective_flags,
        bilevel_flags,
    ):
        add_flags(parser, TrainingConfig())


def config_of(options: argparse.Namespace) -> TrainingConfig:
    """The run that the flags ask for."""
    values = {k: v for k, v in vars(options).items() if k != "quiet"}
    if values["threads"] < 0:
        raise fail("--threads", values["threads"], "0 or more")
    return TrainingConfig.from_dict(values, "flags")


def run(options: argparse.Namespace) -> None:
    """Train."""
    config = config_of(options)
    from bilevelmorph.devices import choose_gpu, use_threads

    choose_gpu(config.gpu)
    use_threads(config.threads)
    from bilevelmorph.training.run import train

    train(config, options.quiet)
    table = Path(config.model_dir) / "weights.csv"
    if config.bilevel and table.is_file():
        from bilevelmorph.report.trajectories import trajectory_figure

        trajectory_figure(table.with_name("weights.png"), {"": table})
        print(f"trajectories of the loss weights: {table.with_name('weights.png')}")
    print(f"checkpoints, log and configuration are in {config.model_dir}")
