"""Register a synthetic pair: the MNI152 template with known deformation, bias field, noise and contrast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bilevelmorph.cli.options import Gpu
from bilevelmorph.compilation_cache import shared_compilations


@dataclass(frozen=True)
class Options:
    """Options of the demonstration.

    >>> Options().seed
    1
    """

    out: str = "demo-output"
    """Folder for the volumes, the displacement and the figure."""
    model: str = "general"
    """Bundled model, .keras file, or VoxelMorph's .h5."""
    seed: int = 1
    """Random seed of the deformation, the bias field and the noise."""
    amplitude: float = 4.0
    """Standard deviation of the random velocity, in voxels of 2 mm."""
    gpu: Gpu = "0"
    """GPU number; -1 for the CPU."""


@shared_compilations()
def run(options: Options) -> None:
    """Make the pair, register it, score the result and draw it."""
    from bilevelmorph.devices import choose_gpu

    choose_gpu(options.gpu)
    from bilevelmorph.registration.demo import demo

    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for line in demo(out, options.model, options.seed, options.amplitude):
        print(line)
    names = "moving.nii.gz, fixed.nii.gz, moved.nii.gz, displacement.nii.gz, figure.png"
    print(f"wrote {names} to {out}")
