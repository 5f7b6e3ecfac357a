"""Fit the deformation of one pair from nothing, or from a model's: VoxelMorph's train_instance."""

from __future__ import annotations

import argparse
from typing import Any

from bilevelmorph.checks import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """VoxelMorph's flags."""
    add = parser.add_argument
    add("--moving", required=True, help="image to be moved")
    add("--fixed", required=True, help="image that stays")
    add("--moved", required=True, help="where to write the moved image (nii, nii.gz, npz)")
    add("--warp", help="where to write the displacement")
    add("--model", help="bundled model or .keras file to begin from; without one from no displacement")
    add("--affine", choices=("none", "rigid", "affine"), default="none", help="linear alignment first")
    add("-g", "--gpu", default="0", help="GPU number; -1 for the CPU")
    add("--steps", type=int, default=200, help="iterations")
    add("--lr", type=float, default=5e-5, help="of Adam; times --multiplier it is in voxels of the velocity")
    add("--multiplier", type=float, default=1000.0, help="of --lr")
    add("--int-steps", type=int, default=7, help="integration steps, without a model")
    add("--int-downsize", type=int, default=2, help="how much coarser the velocity is, without a model")
    add("--image-loss", choices=("mse", "ncc", "mind", "nmi"), default="mse", help="similarity")
    add("--window", type=int, default=9, help="ncc: window in voxels")
    add("--lambda", dest="lambda_weight", type=float, default=0.01, help="weight of regularity")


def run(options: argparse.Namespace) -> None:
    """Fit one pair."""
    positive("--steps", options.steps, whole=True)
    positive("--lr", options.lr)
    positive("--multiplier", options.multiplier)
    positive("--lambda", options.lambda_weight, zero=True)
    positive("--int-steps", options.int_steps, zero=True, whole=True)
    positive("--int-downsize", options.int_downsize, whole=True)
    from bilevelmorph.report.outputs import Outputs
    from bilevelmorph.volumes.files import load_volume

    outputs = Outputs(moved=options.moved, warp=options.warp)
    outputs.check()
    moving, fixed = load_volume(options.moving), load_volume(options.fixed)

    from bilevelmorph.devices import choose_gpu

    choose_gpu(options.gpu)
    from bilevelmorph.inference.models import load_model
    from bilevelmorph.inference.register import Registrar
    from bilevelmorph.networks.still_network import StillNetwork

    network: Any = load_model(options.model) if options.model else None
    network = network or StillNetwork(fixed.ndims, options.int_downsize, options.int_steps)
    network.objective = {
        "similarity": options.image_loss,
        "width": options.window,
        "weights": {"similarity": 1.0, "regularity": options.lambda_weight},
    }
    rate = options.lr * options.multiplier
    registrar = Registrar(network, options.affine, instance_steps=options.steps, instance_rate=rate)
    result = registrar(moving, fixed)
    outputs.write(result, moving, fixed)
    report = result.report
    print(f"local correlation {report['similarity_before']:.3f} -> {report['similarity_after']:.3f}")
    print(
        f"mean displacement {report['mean_displacement_mm']:.2f} mm, {report['folding_percent']:.3f} % folded"
    )
    print(f"{options.steps} steps of {report['seconds_a_step']:.3f} s")
