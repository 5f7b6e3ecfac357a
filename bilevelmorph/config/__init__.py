"""Configurations: a frozen dataclass for each concern, from which flags, help, JSON and YAML are derived."""

from bilevelmorph.config.augmentation_config import AugmentationConfig
from bilevelmorph.config.bilevel_config import BilevelConfig
from bilevelmorph.config.descent_config import DescentConfig
from bilevelmorph.config.device_config import DeviceConfig
from bilevelmorph.config.extra_terms_config import ExtraTermsConfig
from bilevelmorph.config.network_config import NetworkConfig
from bilevelmorph.config.objective_config import ObjectiveConfig
from bilevelmorph.config.optimization_config import OptimizationConfig
from bilevelmorph.config.output_config import OutputConfig
from bilevelmorph.config.preprocessing_config import PreprocessingConfig
from bilevelmorph.config.scan_config import ScanConfig
from bilevelmorph.config.schedule_config import ScheduleConfig
from bilevelmorph.config.search_config import SearchConfig
from bilevelmorph.config.template_config import TemplateConfig
from bilevelmorph.config.training_config import TrainingConfig
from bilevelmorph.config.tuning_config import TuningConfig
from bilevelmorph.config.validation_config import ValidationConfig

__all__ = [
    "AugmentationConfig",
    "BilevelConfig",
    "DescentConfig",
    "DeviceConfig",
    "ExtraTermsConfig",
    "NetworkConfig",
    "ObjectiveConfig",
    "OptimizationConfig",
    "OutputConfig",
    "PreprocessingConfig",
    "ScanConfig",
    "ScheduleConfig",
    "SearchConfig",
    "TemplateConfig",
    "TrainingConfig",
    "TuningConfig",
    "ValidationConfig",
]
