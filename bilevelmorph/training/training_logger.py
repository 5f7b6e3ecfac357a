"""The logs of a run: a CSV file and TensorBoard events."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import tensorflow as tf

from bilevelmorph.io.csv import read_rows, write_csv


class TrainingLogger:
    """One row per epoch in `log.csv`, with the same values in TensorBoard.

    When a run is resumed, rows of epochs after `initial_epoch` are dropped, and the TensorBoard
    events are written anew from the rows that are kept, so that no step comes twice.

    Args:
        folder: Folder of the run.
        initial_epoch: Epochs already done.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = TrainingLogger(Path(folder))
    ...     log.write(1, {"loss": 0.5})
    ...     log.writer.close()
    ...     log.path.read_text().split()
    ['epoch,loss', '1,0.5']
    """

    def __init__(self, folder: Path, initial_epoch: int = 0) -> None:
        self.path = folder / "log.csv"
        self.rows: list[dict[str, float]] = []
        if initial_epoch and self.path.is_file():
            kept = [row for row in read_rows(self.path) if int(row["epoch"]) <= initial_epoch]
            self.rows = [{k: float(v) for k, v in row.items() if v} for row in kept]
        self._shown: int | None = None

    @functools.cached_property
    def writer(self) -> Any:
        """The writer of TensorBoard events, which begins with those of earlier epochs."""
        folder = self.path.with_name("tensorboard")
        for events in folder.glob("events.out.tfevents.*"):
            events.unlink()
        writer = tf.summary.create_file_writer(str(folder))
        for row in self.rows:
            _show(writer, int(row["epoch"]), {k: v for k, v in row.items() if k != "epoch"})
        return writer

    def write_trajectory(self, rows: list[dict[str, float]]) -> None:
        """Write `weights.csv`, one row per outer step: earlier rows of a resumed run, then `rows`.

        New rows go to TensorBoard too.
        """
        if not rows:
            return
        path = self.path.with_name("weights.csv")
        earlier: list[dict[str, float]] = []
        if path.is_file():
            there = read_rows(path)
            kept = [{k: float(v) for k, v in row.items()} | {"step": int(row["step"])} for row in there]
            earlier = [row for row in kept if row["step"] < rows[0]["step"]]
        write_csv(path, [*earlier, *rows])
        for row in [*earlier, *rows] if self._shown is None else rows[self._shown :]:
            _show(self.writer, int(row["step"]), {f"bilevel/{k}": v for k, v in row.items()})
        self._shown = len(rows)

    def write(self, epoch: int, values: dict[str, float]) -> None:
        """Add the row of an epoch; the file is replaced atomically."""
        _show(self.writer, epoch, values)
        self.rows.append({"epoch": epoch, **values})
        write_csv(self.path, [{**r, "epoch": int(r["epoch"])} for r in self.rows])


def _show(writer: Any, step: int, values: dict[str, float]) -> None:
    with writer.as_default():
        for name, value in values.items():
            tf.summary.scalar(name, value, step=step)
        writer.flush()
