"""The configuration of a search."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from bilevelmorph.config.architecture_config import ArchitectureConfig
from bilevelmorph.config.augmentation_config import AugmentationConfig
from bilevelmorph.config.bilevel_config import BilevelConfig
from bilevelmorph.config.budget_config import BudgetConfig, seconds_of
from bilevelmorph.config.codec import Table, from_dict, read_table
from bilevelmorph.config.device_config import DeviceConfig
from bilevelmorph.config.flags import leaves
from bilevelmorph.config.network_config import NetworkConfig
from bilevelmorph.config.objective_config import ObjectiveConfig
from bilevelmorph.config.optimization_config import OptimizationConfig
from bilevelmorph.config.output_config import OutputConfig
from bilevelmorph.config.preprocessing_config import PreprocessingConfig
from bilevelmorph.config.scan_config import ScanConfig
from bilevelmorph.config.scan_folder_config import ScanFolderConfig
from bilevelmorph.config.schedule_config import ScheduleConfig
from bilevelmorph.config.space_config import SpaceConfig
from bilevelmorph.config.training_config import TrainingConfig
from bilevelmorph.config.tuning_config import TuningConfig
from bilevelmorph.config.validation_config import ValidationConfig

# Alternative to the hypergradient methods: a supernet that is conditioned on the loss weights.
RESPONSE = "response"


@dataclass(frozen=True)
class SearchConfig(Table):
    """Configuration of a search: its space, its budget, and the training of candidates.

    >>> SearchConfig.of(budget="90m").seconds
    5400.0
    """

    scans: ScanFolderConfig = field(default_factory=ScanFolderConfig)
    """Scans."""
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    """Preprocessing."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    """Augmentation of training pairs."""
    device: DeviceConfig = field(default_factory=DeviceConfig)
    """Device and seed."""
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    """Budget and searcher."""
    space: SpaceConfig = field(default_factory=SpaceConfig)
    """Search space."""
    architecture: ArchitectureConfig = field(default_factory=ArchitectureConfig)
    """Gradient search."""
    tuning: TuningConfig = field(
        default_factory=lambda: TuningConfig(hypergradient=RESPONSE, outer_lr=0.05, outer_every=2)
    )
    """Tuning of the loss weights."""
    optimization: OptimizationConfig = field(
        default_factory=lambda: OptimizationConfig(steps_per_epoch=50, lr=1e-3, clip_norm=5.0)
    )
    """Optimisation of the network's weights."""
    objective: ObjectiveConfig = field(
        default_factory=lambda: ObjectiveConfig(image_loss="ncc", window=5, lambda_weight=1.0)
    )
    """Objective."""

    @property
    def seconds(self) -> float:
        """The budget in seconds.

        Raises:
            InputError: The budget is not a time.
        """
        return seconds_of(self.budget.budget)

    def training(
        self,
        folder: str = "",
        epochs: int = 1,
        *,
        outer_loss: str = "",
        lr_schedule: Literal["constant", "cosine"] = "constant",
    ) -> TrainingConfig:
        """The configuration for training one network of this search.

        Args:
            folder: Output folder.
            epochs: Number of epochs.
            outer_loss: Criterion for tuning the loss weights; empty leaves them fixed.
            lr_schedule: See `ScheduleConfig`.

        >>> SearchConfig.of(data="scans", lr=0.01).training(epochs=3).optimization.lr
        0.01
        """
        return TrainingConfig(
            scans=ScanConfig(
                folder=self.scans.folder,
                multichannel=self.scans.multichannel,
                reader=self.scans.reader,
            ),
            preprocessing=self.preprocessing,
            augmentation=self.augmentation,
            validation=ValidationConfig(val_pairs=self.scans.val_pairs),
            output=OutputConfig(folder),
            device=self.device,
            optimization=self.optimization,
            schedule=ScheduleConfig(epochs=epochs, lr_schedule=lr_schedule),
            network=NetworkConfig(int_steps=self.space.int_steps),
            objective=self.objective,
            bilevel=BilevelConfig(
                enabled=bool(outer_loss), outer_loss=outer_loss or "dice", tuning=self.tuning
            ),
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file of this version or of version 0.1, whose searches had all fields of a training run."""
        content = read_table(path)
        own = {key for _, f, _, name in leaves(cls) for key in (f.name, name)}
        training = {key for _, f, _, name in leaves(TrainingConfig) for key in (f.name, name)}
        former = {"network", "bilevel", "upper", "upper_features", "upper_part", "warmup", "guides"}
        if "operations" in content:  # flat
            content["out"] = content.pop("model_dir", "search")
            content = {k: v for k, v in content.items() if k in own or k not in training | former}
        return from_dict(cls, content, str(path))
