"""Write a model in a form that other runtimes read, normalisation and padding inside."""

from __future__ import annotations

import argparse
from pathlib import Path

FORMATS = ("savedmodel", "onnx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All flags."""
    add = parser.add_argument
    add("--model", default="general", help="bundled model or .keras file")
    add(
        "--format",
        choices=FORMATS,
        default="savedmodel",
        help="for TensorFlow and its servers, or for ONNX Runtime",
    )
    add("--out", required=True, help="folder to be written, new or empty; of onnx the file")


def run(options: argparse.Namespace) -> None:
    """Export one model."""
    from bilevelmorph.devices import choose_gpu

    choose_gpu("-1")
    from bilevelmorph.inference.export import export_onnx, export_savedmodel, free_folder
    from bilevelmorph.inference.models import load_model

    if options.format == "onnx":
        path = export_onnx(load_model(options.model), options.out)
        print(f"{path}: moving, fixed to moved, displacement; {path.stat().st_size / 2**20:.1f} MiB")
        return
    free_folder(options.out)
    folder = export_savedmodel(load_model(options.model), options.out)
    size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
    print(f"{folder}: signatures serving_default, register, warp; {size / 2**20:.1f} MiB")
