"""Write a model in a form that other runtimes read, normalisation and padding inside."""

from __future__ import annotations

import argparse

FORMATS = ("savedmodel",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All flags."""
    add = parser.add_argument
    add("--model", default="general", help="bundled model or .keras file")
    add("--format", choices=FORMATS, default="savedmodel", help="SavedModel for TensorFlow and its servers")
    add("--out", required=True, help="folder to be written, new or empty")


def run(options: argparse.Namespace) -> None:
    """Export one model."""
    from bilevelmorph.inference.export import export_savedmodel, free_folder
    from bilevelmorph.inference.models import load_model

    free_folder(options.out)
    folder = export_savedmodel(load_model(options.model), options.out)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    print(f"{folder}: signatures serving_default, register, warp; {size / 2**20:.1f} MiB")
