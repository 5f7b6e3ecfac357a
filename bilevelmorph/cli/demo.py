"""Register a pair made from the MNI152 template by a known deformation, bias, noise and another contrast."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All flags."""
    add = parser.add_argument
    add("--out", default="demo-output", help="folder for the volumes, the displacement and the figure")
    add("--model", default="general", help="bundled model, .keras file, or VoxelMorph's .h5")
    add("--seed", type=int, default=1, help="of the deformation, the bias field and the noise")
    add("--amplitude", type=float, default=4.0, help="strength of the deformation in voxels of 2 mm")
    add("--gpu", default="0", help="GPU number; -1 for the CPU")


def run(options: argparse.Namespace) -> None:
    """Make the pair, register it, score it, draw it."""
    from bilevelmorph.devices import choose_gpu

    choose_gpu(options.gpu)
    from bilevelmorph.report.demo import demo

    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for line in demo(out, options.model, options.seed, options.amplitude):
        print(line)
    names = "moving.nii.gz, fixed.nii.gz, moved.nii.gz, displacement.nii.gz, figure.png"
    print(f"wrote {names} to {out}")
