"""The configuration of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field

from bilevelmorph.config.augmentation_config import AugmentationConfig
from bilevelmorph.config.bilevel_config import BilevelConfig
from bilevelmorph.config.codec import Table
from bilevelmorph.config.device_config import DeviceConfig
from bilevelmorph.config.extra_terms_config import ExtraTermsConfig
from bilevelmorph.config.network_config import NetworkConfig
from bilevelmorph.config.objective_config import ObjectiveConfig
from bilevelmorph.config.optimization_config import OptimizationConfig
from bilevelmorph.config.output_config import OutputConfig
from bilevelmorph.config.preprocessing_config import PreprocessingConfig
from bilevelmorph.config.scan_config import ScanConfig
from bilevelmorph.config.schedule_config import ScheduleConfig
from bilevelmorph.config.validation_config import ValidationConfig


@dataclass(frozen=True)
class TrainingConfig(Table):
    """Configuration of a training run, with one part for each concern.

    >>> config = TrainingConfig(optimization=OptimizationConfig(lr=1e-3))
    >>> config == TrainingConfig.of(lr=1e-3)
    True
    """

    scans: ScanConfig = field(default_factory=ScanConfig)
    """Training scans: one of --img-list, --data, --synthetic, --mix."""
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    """Preprocessing."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    """Augmentation of training pairs."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Validation on pairs of --data."""
    output: OutputConfig = field(default_factory=OutputConfig)
    """Output."""
    device: DeviceConfig = field(default_factory=DeviceConfig)
    """Device and seed."""
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    """Optimisation of the network's weights."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Schedule."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Network; options that it does not accept are refused."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """Objective."""
    extra_terms: ExtraTermsConfig = field(default_factory=ExtraTermsConfig)
    """Further terms of the objective."""
    bilevel: BilevelConfig = field(default_factory=BilevelConfig)
    """Bilevel training: tuning of loss weights or features on validation pairs."""

    @property
    def ema_momentum(self) -> float:
        """Momentum of the moving average of the network's weights; 0 for none.

        >>> TrainingConfig.of(bilevel=True).ema_momentum, TrainingConfig().ema_momentum
        (0.98, 0.0)
        """
        given = self.optimization.ema
        return (0.98 if self.bilevel.enabled else 0.0) if given is None else given
