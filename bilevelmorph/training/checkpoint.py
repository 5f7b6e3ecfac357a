"""Checkpoints from which training continues exactly as if it had never stopped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bilevelmorph.errors import fail
from bilevelmorph.io.atomic import atomic_path


@contextmanager
def checkpoint(folder: Path, epoch: int, network: keras.Model, variables: Sequence[Any]) -> Iterator[Path]:
    """Write ``{epoch:04d}.keras`` and the trainer's state beside it; keep only the newest state.

    The checkpoint counts when the block has ended: what belongs to its epoch is written inside. A run
    that is killed before trains the epoch again, and writes the same.

    Yields:
        The `.keras` file under its temporary name.
    """
    path = folder / f"{epoch:04d}.keras"
    arrays: dict[str, Any] = {f"{i:04d}": np.asarray(v) for i, v in enumerate(variables)}
    with atomic_path(state_path(path)) as temporary:
        np.savez(temporary, **arrays)
    with atomic_path(path) as temporary:
        network.save(temporary)
        yield Path(temporary)
    remove_old_states(path)


def remove_old_states(newest: Path) -> None:
    """Remove the training states of all checkpoints but the newest; a killed run may have left one."""
    for old in newest.parent.glob("*.state.npz"):
        if old != state_path(newest):
            old.unlink()


def state_path(checkpoint: Path) -> Path:
    """Path of the training state that belongs to a checkpoint.

    >>> state_path(Path("runs/0002.keras")).name
    '0002.state.npz'
    """
    return checkpoint.with_name(checkpoint.stem + ".state.npz")


def restore_state(checkpoint: Path, variables: Sequence[Any]) -> bool:
    """Restore a trainer's variables from a checkpoint; return False if its state is missing."""
    path = state_path(checkpoint)
    if not path.is_file():
        return False
    with np.load(path, allow_pickle=False) as arrays:
        if len(arrays.files) != len(variables):
            raise fail(str(path), f"{len(arrays.files)} arrays", f"{len(variables)} for this run")
        for i, variable in enumerate(variables):
            # The configuration sets the learning rate: a resumed run may use another one.
            if not variable.path.endswith("learning_rate"):
                variable.assign(arrays[f"{i:04d}"])
    return True


def newest_checkpoint(folder: Path) -> tuple[Path, int] | None:
    """Find the last `{epoch}.keras` with a training state, and its epoch."""
    found = []
    for path in folder.glob("*.keras"):
        number = re.fullmatch(r"\d+", path.stem)
        if number and state_path(path).is_file():
            found.append((int(path.stem), path))
    return (max(found)[1], max(found)[0]) if found else None
