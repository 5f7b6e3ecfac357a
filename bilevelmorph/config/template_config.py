"""The configuration of template construction."""

from __future__ import annotations

from dataclasses import dataclass, field

from bilevelmorph.config.codec import Table
from bilevelmorph.config.device_config import DeviceConfig
from bilevelmorph.config.flags import File
from bilevelmorph.config.network_config import NetworkConfig
from bilevelmorph.config.objective_config import ObjectiveConfig
from bilevelmorph.config.optimization_config import OptimizationConfig
from bilevelmorph.config.output_config import OutputConfig
from bilevelmorph.config.preprocessing_config import PreprocessingConfig
from bilevelmorph.config.scan_config import ScanConfig
from bilevelmorph.config.schedule_config import ScheduleConfig
from bilevelmorph.config.training_config import TrainingConfig


@dataclass(frozen=True)
class TemplateConfig(Table):
    """Configuration of template construction, including the training of the network.

    >>> TemplateConfig().image_loss_weight
    0.5
    """

    init_template: File = None
    """Initial template; by default the mean of the first hundred scans."""
    image_loss_weight: float = 0.5
    """Weight of the similarity in the space of the scans; the remainder weights that in template space."""
    mean_loss_weight: float = 1.0
    """Weight of the squared mean displacement."""
    scans: ScanConfig = field(default_factory=ScanConfig)
    """Training scans: one of --img-list, --data."""
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    """Preprocessing."""
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

    @property
    def training(self) -> TrainingConfig:
        """The configuration of the network's training run."""
        return TrainingConfig(
            scans=self.scans,
            preprocessing=self.preprocessing,
            output=self.output,
            device=self.device,
            optimization=self.optimization,
            schedule=self.schedule,
            network=self.network,
            objective=self.objective,
        )
