"""Options that commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tyro.conf import arg

from bilevelmorph.config.flags import File, Reader

Gpu = Annotated[str, arg(aliases=("-g",), metavar="INT")]
Affine = Literal["none", "rigid", "affine"]
Init = Annotated[Literal["header", "centre"] | None, arg(metavar="header|centre")]
Quality = Annotated[Literal["fast", "balanced", "best"] | None, arg(metavar="fast|balanced|best")]
Steps = Annotated[tuple[int, ...] | None, arg(metavar="INT ...")]
Names = Annotated[tuple[str, ...] | None, arg(metavar="NAME ...")]
WarpFormat = Literal["voxelmorph", "itk"]


@dataclass(frozen=True)
class ModelOptions:
    """How pairs are registered.

    >>> ModelOptions().model
    'general'
    """

    model: str = "general"
    """Bundled model, .keras file, or VoxelMorph's .h5; none for instance optimisation alone."""
    affine: Affine = "none"
    """Linear alignment before the model."""
    init: Init = None
    """Initial placement by the headers or by the centres of the grids; by default as in training."""
    quality: Quality = None
    """fast: one pass of the model; balanced (the default): large pairs are optimised further at half
    resolution; best: up to full resolution."""
    instance_steps: Steps = None
    """Iterations of instance optimisation in place of --quality: one number, or one per level; 0 for none."""
    similarity: Names = None
    """Similarities of instance optimisation: ncc, mse, mind, nmi, or your own as package.module:Name."""
    settings: File = None
    """JSON or YAML file with settings of instance optimisation; by default those of the model."""
    mc_samples: int = 0
    """Number of samples of a probabilistic model for an uncertainty map; 0 for none."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the model's convolutions; bfloat16 is faster on GPUs and on processors made for it."""
    fill: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Value of the moved image where the moving one does not reach; by default that of its background."""
    reader: Reader = None
    """Function that reads files with a new extension, such as .ending=my_module:read."""
    gpu: Gpu = "0"
    """GPU number; -1 for the CPU."""

    @property
    def registrar_arguments(self) -> dict[str, Any]:
        """Arguments of `bilevelmorph.registration.Registrar`.

        >>> ModelOptions("none").registrar_arguments["quality"]
        'best'
        """
        alone = self.model == "none"
        # Batches of versions without this option resume.
        other = {} if self.precision == "float32" else {"precision": self.precision}
        return other | {
            "model": None if alone else self.model,
            "affine": self.affine,
            "init": self.init,
            "deformable": not alone,
            "quality": self.quality or ("best" if alone else None),
            "instance_steps": self.instance_steps,
            "similarity": self.similarity,
            "settings": self.settings,
            "mc_samples": self.mc_samples,
            "fill": self.fill,
        }
