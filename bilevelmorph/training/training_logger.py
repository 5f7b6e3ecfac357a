"""The logs of a run: a CSV file and TensorBoard events."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from bilevelmorph.io.csv import read_rows, write_csv


class TrainingLogger:
    """One row per epoch in `log.csv`, with the same values in TensorBoard.

    When a run is resumed, rows of epochs after `initial_epoch` are dropped.

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
        self._shown = 0
        self.writer = tf.summary.create_file_writer(str(folder / "tensorboard"))

    def write_trajectory(self, rows: list[dict[str, float]]) -> None:
        """Write `weights.csv`, one row per outer step: earlier rows of a resumed run, then `rows`.

        New rows go to TensorBoard too.
        """
        path = self.path.with_name("weights.csv")
        earlier: list[dict[str, float]] = []
        if path.is_file() and rows:
            kept = [{k: float(v) for k, v in row.items()} for row in read_rows(path)]
            earlier = [r for r in kept if r["step"] < rows[0]["step"]]
        if rows:
            write_csv(path, [*earlier, *rows])
        with self.writer.as_default():
            for row in rows[self._shown :]:
                for name, value in row.items():
                    tf.summary.scalar(f"bilevel/{name}", value, step=int(row["step"]))
        self._shown = len(rows)

    def write(self, epoch: int, values: dict[str, float]) -> None:
        """Add the row of an epoch; the file is replaced atomically."""
        self.rows.append({"epoch": epoch, **values})
        write_csv(self.path, [{**r, "epoch": int(r["epoch"])} for r in self.rows])
        with self.writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=epoch)
            self.writer.flush()
