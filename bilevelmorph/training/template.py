"""Runs template construction from a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from bilevelmorph.config import ObjectiveConfig, TemplateConfig
from bilevelmorph.data.volume import Volume
from bilevelmorph.datasets.pair_dataset import PairDataset
from bilevelmorph.datasets.pairs import Subject
from bilevelmorph.errors import fail
from bilevelmorph.io.volumes import save_volume
from bilevelmorph.training.build import make_augmentation, make_optimizer
from bilevelmorph.training.check import check
from bilevelmorph.training.checkpoint_callback import CheckpointCallback
from bilevelmorph.training.data import open_data
from bilevelmorph.training.run import fit, prepare
from bilevelmorph.training.template_objective import TemplateObjective
from bilevelmorph.training.trainer import Trainer

MEANT = 100


class _TemplateWriter(keras.callbacks.Callback):
    """Writes the template after every epoch."""

    def __init__(self, objective: TemplateObjective, path: Path, affine: np.ndarray) -> None:
        super().__init__()
        self.objective, self.path, self.affine = objective, path, affine

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        write_template(self.path, self.objective.template, self.affine)


def write_template(path: Path, template: np.ndarray, affine: np.ndarray) -> None:
    """Write a template ``[*S, 1]`` as an image."""
    save_volume(path, Volume(np.ascontiguousarray(template[..., 0], np.float32), affine))


def make_template(config: TemplateConfig, quiet: bool = False) -> np.ndarray:
    """Learn a template together with its network.

    Writes ``init_template.nii.gz``, ``template.nii.gz`` and the files of `train` to the run's folder.

    Args:
        config: Configuration of the run.
        quiet: Suppress messages and progress bars.

    Returns:
        The template, ``[*S, 1]``.

    Raises:
        InputError: Data or options are unusable, or the training diverged.
    """
    training = config.training
    check(training)
    _check_template(config)
    keras.utils.set_random_seed(config.device.seed)
    pairs, folder = open_data(training).pairs, Path(config.output.model_dir)
    run = prepare(training, pairs)
    begin = first_template(pairs, config.init_template)
    objective = TemplateObjective(run.energy, begin, config.image_loss_weight, config.mean_loss_weight)
    trainer = Trainer(
        run.network, objective, augmentation=make_augmentation(training), seed=config.device.seed
    )
    trainer.compile(make_optimizer(training), xla=config.device.xla)
    affine = pairs.grid_of(pairs.everyone[0])
    write_template(folder / "init_template.nii.gz", begin, affine)
    writer = _TemplateWriter(objective, folder / "template.nii.gz", affine)
    callback = CheckpointCallback(training, trainer, None, run.initial_epoch, quiet)
    fit(training, run, trainer, pairs, [writer, callback])
    return objective.template


def _check_template(config: TemplateConfig) -> None:
    """Reject options that template construction does not support."""
    scans = config.scans
    for name, given in (
        ("synthetic", scans.synthetic),
        ("mix", scans.mix),
        ("multichannel", scans.multichannel),
        ("atlas", scans.atlas),
    ):
        if given:
            raise fail(name, "a value", "no value; a template is built from a list of scans with one channel")
    if config.schedule.alternate:
        raise fail("alternate", config.schedule.alternate, "0 for a template")
    plain = ObjectiveConfig()
    for name in ("stage_weights", "folding_weight", "loss_weights"):
        if getattr(config.objective, name) != getattr(plain, name):
            raise fail(name, "a value", "no value; the objective of a template has no such term")


def first_template(pairs: PairDataset, path: str | None) -> np.ndarray:
    """The initial template, ``[*S, 1]``: an image, or the mean of the first hundred scans."""
    if path:
        return pairs.image(Subject(Path(path)))
    scans = pairs.everyone[:MEANT]
    return np.mean([pairs.image(s) for s in scans], 0)
