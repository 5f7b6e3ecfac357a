"""Export a model for other runtimes, including normalisation and padding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from bilevelmorph.errors import argument, fail

# Flags that apply to one format only: that format and their defaults.
OWN = {
    "shape": ("stablehlo", None),
    "precision": ("savedmodel", "float32"),
    "serving_warmup": ("savedmodel", None),
}
Sizes = Annotated[tuple[int, ...] | None, arg(metavar="INT ...")]


@dataclass(frozen=True)
class Options:
    """Options of an export.

    >>> Options("served").format
    'savedmodel'
    """

    out: str
    """New or empty folder to write to; for onnx and stablehlo, a file."""
    model: str = "general"
    """Bundled model, .keras file, or VoxelMorph's .h5."""
    format: Literal["savedmodel", "onnx", "stablehlo"] = "savedmodel"
    """savedmodel for TensorFlow (Serving) and OpenVINO; onnx for ONNX Runtime; stablehlo for XLA."""
    shape: Sizes = None
    """stablehlo: image size; by default that used in training."""
    precision: Literal["float32", "float16"] = "float32"
    """savedmodel: precision of the stored weights; float16 halves the size, computation stays in float32."""
    serving_warmup: Sizes = None
    """savedmodel: size of a pair that TensorFlow Serving registers at start-up to warm up."""


def run(options: Options) -> None:
    """Export one model."""
    from bilevelmorph.devices import choose_gpu

    choose_gpu("-1")
    from bilevelmorph.models import load_model
    from bilevelmorph.registration.export import (
        export_onnx,
        export_savedmodel,
        export_stablehlo,
        free_file,
        free_folder,
    )

    for name, (form, default) in OWN.items():
        if options.format != form and getattr(options, name) != default:
            raise fail(name, argument("format", options.format), argument("format", form))
    if options.format != "savedmodel":
        free_file(options.out, f".{options.format}")
        network = load_model(options.model)
        if options.format == "onnx":
            path = export_onnx(network, options.out)
        else:
            shape = options.shape or network.preprocessing.get("shape")
            if not shape:
                raise fail("shape", "nothing", "the sizes of the images, which StableHLO fixes")
            path = export_stablehlo(network, options.out, shape)
        print(f"{path}: moving, fixed to moved, displacement; {path.stat().st_size / 2**20:.1f} MiB")
        return
    free_folder(options.out)
    network = load_model(options.model)
    folder = export_savedmodel(network, options.out, options.precision, options.serving_warmup or ())
    size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
    print(f"{folder}: signatures serving_default, register, warp; {size / 2**20:.1f} MiB")
