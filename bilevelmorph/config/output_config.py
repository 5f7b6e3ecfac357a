"""Where a training run writes its files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OutputConfig:
    """Output.

    >>> OutputConfig().model_dir
    'models'
    """

    model_dir: str = "models"
    """Folder for checkpoints, log.csv, TensorBoard events and config.json."""
