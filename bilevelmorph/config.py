"""The frozen configuration of a training run, saved beside the model it made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bilevelmorph.checks import fail


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a training run; the names are those of the flags.

    >>> TrainingConfig(epochs=3).epochs
    3
    """

    # data
    img_list: str | None = None
    img_prefix: str = ""
    img_suffix: str = ""
    seg_prefix: str = ""
    seg_suffix: str = ""
    labels: str | None = None
    data: str | None = None
    synthetic: bool = False
    atlas: str | None = None
    multichannel: bool = False
    shape: tuple[int, ...] | None = None
    spacing: float = 0.0
    percentiles: tuple[float, float] = (0.5, 99.5)
    val_pairs: int = 40
    val_every: int = 1
    augment_affine: float = 0.0
    augment_shift: float = 0.0
    augment_intensity: float = 0.0
    # output and devices
    model_dir: str = "models"
    gpu: str = "0"
    threads: int = 0
    seed: int = 0
    # optimisation
    batch_size: int = 1
    epochs: int = 1500
    steps_per_epoch: int = 100
    load_weights: str | None = None
    initial_epoch: int = 0
    resume: bool = False
    lr: float = 1e-4
    lr_schedule: str = "constant"
    clip_norm: float = 0.0
    ema: float | None = None
    alternate: int = 0
    # network
    network: str = "vxm"
    genotype: str | None = None
    enc: tuple[int, ...] = (16, 32, 32, 32)
    dec: tuple[int, ...] = (32, 32, 32, 32, 32, 16, 16)
    int_steps: int = 7
    int_downsize: int = 2
    use_probs: bool = False
    bidir: bool = False
    scales: tuple[int, ...] = (4, 2)
    encoder: tuple[tuple[int, ...], ...] = ((), (16, 16, 16), (32, 32, 32))
    matching: tuple[int, ...] = (48, 32, 16)
    regularization: tuple[int, ...] = (48, 48, 32)
    radius: tuple[int, ...] = (0,)
    descriptor: str | None = None
    guides: tuple[str, ...] = ()
    steps: tuple[int, ...] = (1,)
    probabilistic: bool = False
    # objective
    image_loss: str = "mse"
    window: int = 9
    regularity: str = "diffusion"
    lambda_weight: float = 0.01
    stage_weights: tuple[float, ...] = ()
    folding_weight: float = 0.0
    dice_weight: float = 0.0
    feature_kl: float = 0.001
    loss_weights: str | None = None
    kl_lambda: float = 10.0
    image_sigma: float = 1.0

    # bilevel
    bilevel: bool = False
    upper: str = "dice"
    strategy: str = "aligned"
    upper_lr: float = 0.02
    upper_every: int = 5
    warmup: int = 500
    freeze: tuple[str, ...] = ("similarity",)
    upper_features: int = 0
    upper_part: str = "features"

    @property
    def momentum_of_average(self) -> float:
        """Of the moving average of the network's weights; 0 for none.

        >>> TrainingConfig(bilevel=True).momentum_of_average, TrainingConfig().momentum_of_average
        (0.98, 0.0)
        """
        return (0.98 if self.bilevel else 0.0) if self.ema is None else self.ema

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        from bilevelmorph.volumes.tables import write_json

        write_json(path, dataclasses.asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read from JSON; unknown keys are refused."""
        from bilevelmorph.volumes.tables import read_json

        return cls.from_dict(read_json(path, "a configuration"), str(path))

    @classmethod
    def from_dict(cls, values: dict[str, Any], what: str = "configuration") -> Self:
        """From a mapping, lists becoming tuples.

        >>> TrainingConfig.from_dict({"enc": [8, 8]}).enc
        (8, 8)
        """
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise fail(what, f"unknown key {unknown[0]}", "a key of TrainingConfig")
        return cls(**{k: _frozen(v) for k, v in values.items()})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, (list, tuple)) else value
