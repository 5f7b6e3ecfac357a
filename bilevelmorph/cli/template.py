"""Build an unbiased template from your scans, together with a network that registers it with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import arg

from bilevelmorph.compilation_cache import shared_compilations
from bilevelmorph.config import TemplateConfig
from bilevelmorph.config.flags import File


@dataclass(frozen=True)
class Options:
    """Options of template construction.

    >>> Options().template.mean_loss_weight
    1.0
    """

    config_file: Annotated[File, arg(name="config")] = None
    """YAML or JSON file of options; flags take precedence over it."""
    quiet: bool = False
    """Hide the progress bars."""
    template: TemplateConfig = field(default_factory=TemplateConfig)
    """Template."""


@shared_compilations()
def run(options: Options) -> None:
    """Build the template."""
    config = options.template
    from bilevelmorph.devices import choose_gpu, use_threads

    choose_gpu(config.device.gpu)
    use_threads(config.device.threads)
    from bilevelmorph.training.template import make_template

    make_template(config, options.quiet)
    print(f"{config.output.model_dir}/template.nii.gz; checkpoints and log beside it")
