"""Optimise the deformation of one pair, from zero or from a model's output (VoxelMorph's train_instance)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tqdm import tqdm
from tyro.conf import arg

from bilevelmorph.cli.options import Affine, Gpu
from bilevelmorph.compilation_cache import shared_compilations
from bilevelmorph.config.flags import File, Reader
from bilevelmorph.errors import positive


@dataclass(frozen=True)
class Options:
    """Options of the optimisation of one pair.

    >>> Options("a.nii.gz", "b.nii.gz", "moved.nii.gz").steps
    200
    """

    moving: str
    """Moving image."""
    fixed: str
    """Fixed image."""
    moved: str
    """Where to write the moved image (nii, nii.gz, nrrd, mha, npz)."""
    warp: File = None
    """Where to write the displacement."""
    model: Annotated[str | None, arg(metavar="MODEL")] = None
    """Bundled model or .keras file to start from; without one, start from zero displacement."""
    affine: Affine = "none"
    """Linear alignment before the optimisation."""
    reader: Reader = None
    """Function that reads files with a new extension, such as .ending=my_module:read."""
    gpu: Gpu = "0"
    """GPU number; -1 for the CPU."""
    steps: int = 200
    """Largest number of iterations at each level."""
    lr: float = 1e-3
    """Its product with --multiplier is the largest move of an iteration, in voxels."""
    multiplier: float = 1000.0
    """Factor by which --lr is multiplied."""
    int_steps: int = 7
    """Accepted and ignored: small moves are composed instead of integrating a velocity."""
    int_downsize: int = 2
    """Factor by which the grid of the first level is coarser than the image."""
    image_loss: str = "mse"
    """Similarity: mse, ncc, mind, nmi, or your own as package.module:Name."""
    window: int = 9
    """Window width of ncc, in voxels."""
    lambda_weight: Annotated[float, arg(name="lambda")] = 0.01
    """Weight of the regulariser of the displacement."""
    quiet: bool = False
    """Hide the progress bar."""


@shared_compilations()
def run(options: Options) -> None:
    """Fit one pair."""
    positive("steps", options.steps, whole=True)
    positive("lr", options.lr)
    positive("multiplier", options.multiplier)
    positive("lambda_weight", options.lambda_weight, zero=True)
    positive("int_steps", options.int_steps, zero=True, whole=True)
    coarse = int(positive("int_downsize", options.int_downsize, whole=True))
    from bilevelmorph.config.descent_config import DescentConfig
    from bilevelmorph.io.volumes import add_reader, load_volume
    from bilevelmorph.registration.output_paths import OutputPaths

    levels = (coarse, 1) if coarse > 1 else (1,)
    settings = DescentConfig(
        levels=levels,
        iterations=(options.steps,) * len(levels),
        step=options.lr * options.multiplier,
        similarity=(options.image_loss,),
        window=options.window,
        regularity_weight=options.lambda_weight,
    )
    outputs = OutputPaths(moved=options.moved, warp=options.warp)
    outputs.check()
    add_reader(options.reader)
    moving, fixed = load_volume(options.moving), load_volume(options.fixed)

    from bilevelmorph.devices import choose_gpu

    choose_gpu(options.gpu)
    from bilevelmorph.registration.registrar import Registrar

    deformable = options.model is not None
    registrar = Registrar(
        options.model, options.affine, deformable=deformable, quality="best", settings=settings
    )
    most, hidden = registrar.iterations(fixed.shape), options.quiet or None
    with tqdm(total=most, desc="iterations", leave=False, disable=hidden) as bar:
        result = registrar(moving, fixed, on_iteration=bar.update)
    outputs.write(result)
    report = result.report
    print(f"local correlation {report['similarity_before']:.3f} -> {report['similarity_after']:.3f}")
    print(
        f"mean displacement {report['mean_displacement_mm']:.2f} mm, {report['folding_percent']:.3f} % folded"
    )
    for level in result.levels:
        print(f"optimised at {level.text}")
