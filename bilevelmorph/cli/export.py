"""Write a model in a form that other runtimes read, normalisation and padding inside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from bilevelmorph.errors import argument, fail

# Flags of one format: which, and what they are where they are not given.
OWN = {
    "shape": ("stablehlo", None),
    "precision": ("savedmodel", "float32"),
    "serving_warmup": ("savedmodel", None),
}
Sizes = Annotated[tuple[int, ...] | None, arg(metavar="INT ...")]


@dataclass(frozen=True)
class Options:
    """What is exported.

    >>> Options("served").format
    'savedmodel'
    """

    out: str
    """Folder to be written, new or empty; of onnx and stablehlo the file."""
    model: str = "general"
    """Bundled model, .keras file, or VoxelMorph's .h5."""
    format: Literal["savedmodel", "onnx", "stablehlo"] = "savedmodel"
    """For TensorFlow, its servers and OpenVINO; for ONNX Runtime; or for XLA."""
    shape: Sizes = None
    """stablehlo: sizes of the images; by default as the model was trained."""
    precision: Literal["float32", "float16"] = "float32"
    """savedmodel: of the stored weights; float16 halves the file, computation stays float32."""
    serving_warmup: Sizes = None
    """savedmodel: sizes of images that TensorFlow Serving registers before it answers anybody."""


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
