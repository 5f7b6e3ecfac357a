"""Train a registration network; flags and defaults of VoxelMorph, and further ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from bilevelmorph.compilation_cache import shared_compilations
from bilevelmorph.config import TrainingConfig
from bilevelmorph.config.flags import File


@dataclass(frozen=True)
class Options:
    """Options of a training run.

    >>> Options().training.schedule.epochs
    1500
    """

    config_file: Annotated[File, arg(name="config")] = None
    """YAML or JSON file of options, such as the config.json of a run; flags take precedence over it."""
    quiet: bool = False
    """Hide the progress bars."""
    training: TrainingConfig = field(default_factory=TrainingConfig)


@shared_compilations()
def run(options: Options) -> None:
    """Run the training."""
    config = options.training
    from bilevelmorph.devices import choose_gpu, use_threads
    from bilevelmorph.errors import InputError, positive

    positive("threads", config.device.threads, zero=True, whole=True)
    choose_gpu(config.device.gpu)
    use_threads(config.device.threads)
    from bilevelmorph.training.run import train

    train(config, options.quiet)
    table = Path(config.output.model_dir) / "weights.csv"
    if config.bilevel.enabled and table.is_file():
        from bilevelmorph.report.trajectory_figure import trajectory_figure

        try:
            trajectory_figure(table.with_name("weights.png"), {"": table})
            print(f"trajectories of the loss weights: {table.with_name('weights.png')}")
        except InputError as error:  # the network has been trained, with or without a figure
            print(f"no figure of the loss weights: {error}")
    print(f"checkpoints, log and configuration are in {config.output.model_dir}")
