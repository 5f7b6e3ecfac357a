"""Validation, checkpoints, logs and progress bars at the end of every epoch."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
from tqdm import tqdm

from bilevelmorph.config import TrainingConfig
from bilevelmorph.io.atomic import atomic_path
from bilevelmorph.training.checkpoint import checkpoint
from bilevelmorph.training.trainer import Trainer
from bilevelmorph.training.training_logger import TrainingLogger
from bilevelmorph.training.validation import Score


class CheckpointCallback(keras.callbacks.Callback):
    """Writes checkpoints, the best model, `log.csv` and TensorBoard events to the run's folder.

    Give it last, so that a checkpoint is written after everything that other callbacks write.

    Args:
        config: Configuration of the run.
        trainer: Trainer whose state is saved.
        validation: Scoring of the network, if there are labels.
        initial_epoch: Epochs already done.
        quiet: Suppress messages and progress bars.

    >>> import tempfile
    >>> from bilevelmorph.losses.energy import Energy
    >>> from bilevelmorph.networks import IdentityNetwork
    >>> trainer = Trainer(IdentityNetwork(2), Energy("mse", weights={"similarity": 1.0}))
    >>> _ = trainer.compile(keras.optimizers.SGD(0.1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     recorder = CheckpointCallback(TrainingConfig.of(model_dir=folder), trainer, quiet=True)
    ...     recorder.on_epoch_begin(0)
    ...     recorder.on_epoch_end(0, {"loss": 0.5, "seconds": 1.0})
    ...     recorder.log.writer.close()
    ...     sorted(path.name for path in Path(folder).glob("*.*"))
    ['0001.keras', '0001.state.npz', 'log.csv']
    """

    def __init__(
        self,
        config: TrainingConfig,
        trainer: Trainer,
        validation: Score | None = None,
        initial_epoch: int = 0,
        quiet: bool = False,
    ) -> None:
        super().__init__()
        self.config, self.trainer, self.validation, self.quiet = config, trainer, validation, quiet
        self.folder = Path(config.output.model_dir)
        self.log = TrainingLogger(self.folder, initial_epoch)
        self.best = max((row.get("val_dice", -1.0) for row in self.log.rows), default=-1.0)
        self._bar: Any = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        title = f"epoch {epoch + 1}/{self.config.schedule.epochs}"
        total = self.config.optimization.steps_per_epoch
        self._bar = tqdm(total=total, desc=title, leave=False, disable=self.quiet or None)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._bar.update(1)
        self._bar.set_postfix(loss=f"{logs['loss']:.4f}", refresh=False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._bar.close()
        network, values, done = self.trainer.network, dict(logs), epoch + 1
        if self.validation and (
            done % self.config.validation.val_every == 0 or done == self.config.schedule.epochs
        ):
            values |= self.validation(network)
        network.objective["weights"] = self.trainer.loss.get_config()["weights"]
        with checkpoint(self.folder, done, network, self.trainer.state_variables) as path:
            if values.get("val_dice", -1.0) > self.best:
                self.best = values["val_dice"]
                with atomic_path(self.folder / "best.keras") as temporary:
                    shutil.copyfile(path, temporary)
            for problem in self.trainer.problems:
                if problem.name == "weights":
                    self.log.write_trajectory(problem.trajectory)
            self.log.write(done, values)
        if not self.quiet:
            tqdm.write(_line(done, self.config.schedule.epochs, values))


def _line(epoch: int, epochs: int, values: dict[str, float]) -> str:
    parts = [f"{k} {v:.4f}" for k, v in values.items() if k != "seconds"]
    return f"epoch {epoch}/{epochs}  {'  '.join(parts)}  {values['seconds']:.0f} s"
