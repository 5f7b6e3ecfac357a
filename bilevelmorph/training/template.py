"""A run that makes a template, from its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bilevelmorph.checks import fail
from bilevelmorph.config import TrainingConfig
from bilevelmorph.training.data import open_data
from bilevelmorph.training.recorder import Recorder
from bilevelmorph.training.run import augmentation_of, check, fit, make_optimizer, prepare
from bilevelmorph.training.template_trainer import TemplateTrainer
from bilevelmorph.volumes.dataset import PairSource
from bilevelmorph.volumes.files import save_volume
from bilevelmorph.volumes.pairs import Subject
from bilevelmorph.volumes.volume import Volume

MEANT = 100


@dataclass(frozen=True)
class TemplateConfig(TrainingConfig):
    """A `TrainingConfig`, and what the template wants.

    >>> TemplateConfig().image_loss_weight
    0.5
    """

    init_template: str | None = None
    image_loss_weight: float = 0.5
    mean_loss_weight: float = 1.0


class _Keeper(keras.callbacks.Callback):
    """Writes the template after every epoch."""

    def __init__(self, trainer: TemplateTrainer, path: Path, affine: np.ndarray) -> None:
        super().__init__()
        self.trainer, self.path, self.affine = trainer, path, affine

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        write_template(self.path, self.trainer.template, self.affine)


def write_template(path: Path, template: np.ndarray, affine: np.ndarray) -> None:
    """Write ``[*S, 1]`` as an image."""
    save_volume(path, Volume(np.ascontiguousarray(template[..., 0], np.float32), affine))


def make_template(config: TemplateConfig, quiet: bool = False) -> np.ndarray:
    """Learn a template and leave it, and the network, in the run's folder.

    Leaves ``init_template.nii.gz``, ``template.nii.gz``, and all that `train` leaves.

    Args:
        config: Of the run.
        quiet: No progress bars.

    Returns:
        ``[*S, 1]``.

    Raises:
        InputError: Data or values that cannot be used, or a run that diverged.
    """
    check(config)
    if config.synthetic or config.multichannel or config.atlas:
        raise fail("template", "--synthetic, --multichannel or --atlas", "a list of scans of one channel")
    keras.utils.set_random_seed(config.seed)
    source, folder = open_data(config).source, Path(config.model_dir)
    run = prepare(config, source)
    begin = first_template(source, config.init_template)
    shares = {"image_weight": config.image_loss_weight, "mean_weight": config.mean_loss_weight}
    parts = (run.network, run.energy, augmentation_of(config), config.seed)
    trainer = TemplateTrainer(*parts, start=begin, **shares)
    trainer.compile(make_optimizer(config))
    affine = source.grid_of(source.everyone[0])
    write_template(folder / "init_template.nii.gz", begin, affine)
    keeper = _Keeper(trainer, folder / "template.nii.gz", affine)
    recorder = Recorder(config, trainer, None, run.initial_epoch, quiet)
    fit(config, run, trainer, source, [recorder, keeper])
    return trainer.template


def first_template(source: PairSource, path: str | None) -> np.ndarray:
    """``[*S, 1]``: an image, or the mean of the first hundred scans."""
    if path:
        return source.image(Subject(Path(path)))
    scans = source.everyone[:MEANT]
    return np.mean([source.image(s) for s in scans], 0)
