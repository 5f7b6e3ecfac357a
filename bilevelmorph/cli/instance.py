"""Optimise the deformation of one pair, from zero or from a model's output (VoxelMorph's train_instance)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import arg

from bilevelmorph.cli.options import Affine, Gpu
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
    """Where to write the moved image (nii, nii.gz, npz)."""
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
    """Number of iterations."""
    lr: float = 5e-5
    """Learning rate of Adam; its product with --multiplier is in voxels of the velocity."""
    multiplier: float = 1000.0
    """Factor by which --lr is multiplied."""
    int_steps: int = 7
    """Scaling-and-squaring steps; used only without --model."""
    int_downsize: int = 2
    """Factor by which the velocity is coarser than the image; used only without --model."""
    image_loss: str = "mse"
    """Similarity: mse, ncc, mind, nmi, or your own as package.module:Name."""
    window: int = 9
    """Window width of ncc, in voxels."""
    lambda_weight: Annotated[float, arg(name="lambda")] = 0.01
    """Weight of the regulariser."""


def run(options: Options) -> None:
    """Fit one pair."""
    positive("steps", options.steps, whole=True)
    positive("lr", options.lr)
    positive("multiplier", options.multiplier)
    positive("lambda_weight", options.lambda_weight, zero=True)
    positive("int_steps", options.int_steps, zero=True, whole=True)
    positive("int_downsize", options.int_downsize, whole=True)
    from bilevelmorph.io.volumes import add_reader, load_volume
    from bilevelmorph.registration.output_paths import OutputPaths

    outputs = OutputPaths(moved=options.moved, warp=options.warp)
    outputs.check()
    add_reader(options.reader)
    moving, fixed = load_volume(options.moving), load_volume(options.fixed)

    from bilevelmorph.devices import choose_gpu

    choose_gpu(options.gpu)
    from bilevelmorph.models import load_model
    from bilevelmorph.networks.identity_network import IdentityNetwork
    from bilevelmorph.registration.registrar import Registrar

    network: Any = load_model(options.model) if options.model else None
    network = network or IdentityNetwork(fixed.ndims, options.int_downsize, options.int_steps)
    network.objective = {
        "similarity": options.image_loss,
        "width": options.window,
        "weights": {"similarity": 1.0, "regularity": options.lambda_weight},
    }
    rate = options.lr * options.multiplier
    registrar = Registrar(network, options.affine, instance_steps=options.steps, instance_rate=rate)
    result = registrar(moving, fixed)
    outputs.write(result)
    report = result.report
    print(f"local correlation {report['similarity_before']:.3f} -> {report['similarity_after']:.3f}")
    print(
        f"mean displacement {report['mean_displacement_mm']:.2f} mm, {report['folding_percent']:.3f} % folded"
    )
    print(f"{options.steps} steps of {report['seconds_a_step']:.3f} s")
