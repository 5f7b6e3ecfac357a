"""Write a model in a form that other runtimes read, normalisation and padding inside."""

from __future__ import annotations

import argparse
from pathlib import Path

from bilevelmorph.checks import fail

FORMATS = ("savedmodel", "onnx", "stablehlo")
# Flags of one format: which, and what they are where they are not given.
OWN = {"shape": ("stablehlo", None), "precision": ("savedmodel", "float32"), "warm_up": ("savedmodel", None)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All flags."""
    add = parser.add_argument
    add("--model", default="general", help="bundled model, .keras file, or VoxelMorph's .h5")
    add(
        "--format",
        choices=FORMATS,
        default="savedmodel",
        help="for TensorFlow, its servers and OpenVINO; for ONNX Runtime; or for XLA",
    )
    add("--out", required=True, help="folder to be written, new or empty; of onnx and stablehlo the file")
    add(
        "--shape",
        type=int,
        nargs="+",
        help="stablehlo: sizes of the images (default: as the model was trained)",
    )
    add(
        "--precision",
        choices=("float32", "float16"),
        default="float32",
        help="savedmodel: of the stored weights; float16 halves the file, computation stays float32",
    )
    add(
        "--warm-up",
        type=int,
        nargs="+",
        help="savedmodel: sizes of images that TensorFlow Serving registers before it answers anybody",
    )


def run(options: argparse.Namespace) -> None:
    """Export one model."""
    from bilevelmorph.devices import choose_gpu

    choose_gpu("-1")
    from bilevelmorph.inference.export import (
        export_onnx,
        export_savedmodel,
        export_stablehlo,
        free_file,
        free_folder,
    )
    from bilevelmorph.inference.models import load_model

    for name, (form, default) in OWN.items():
        if options.format != form and getattr(options, name) != default:
            raise fail("--" + name.replace("_", "-"), f"--format {options.format}", f"--format {form}")
    if options.format != "savedmodel":
        free_file(options.out, f".{options.format}")
        network = load_model(options.model)
        if options.format == "onnx":
            path = export_onnx(network, options.out)
        else:
            shape = options.shape or network.preprocessing.get("shape")
            if not shape:
                raise fail("--shape", "nothing", "the sizes of the images, which StableHLO fixes")
            path = export_stablehlo(network, options.out, shape)
        print(f"{path}: moving, fixed to moved, displacement; {path.stat().st_size / 2**20:.1f} MiB")
        return
    free_folder(options.out)
    network = load_model(options.model)
    folder = export_savedmodel(network, options.out, options.precision, options.warm_up or ())
    size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
    print(f"{folder}: signatures serving_default, register, warp; {size / 2**20:.1f} MiB")
