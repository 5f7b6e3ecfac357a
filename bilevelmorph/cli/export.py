"""Export a model for other runtimes, including normalisation and padding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from bilevelmorph.cli.options import Names, Steps
from bilevelmorph.config.flags import File
from bilevelmorph.errors import argument, fail

if TYPE_CHECKING:
    from bilevelmorph.config.descent_config import DescentConfig

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
    quality: Literal["fast", "balanced", "best"] = "fast"
    """fast: the model alone; balanced: followed by instance optimisation at coarse levels; best: at all."""
    instance_steps: Steps = None
    """Iterations of instance optimisation in place of --quality: one number, or one per level."""
    similarity: Names = None
    """Similarities of instance optimisation: ncc, mse, mind, nmi, or your own as package.module:Name."""
    settings: File = None
    """JSON or YAML file with settings of instance optimisation; by default those of the model."""
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
        settings = _settings(options, network.descent)
        if options.format == "onnx":
            path = export_onnx(network, options.out, settings)
        else:
            shape = options.shape or network.preprocessing.get("shape")
            if not shape:
                raise fail("shape", "nothing", "the sizes of the images, which StableHLO fixes")
            path = export_stablehlo(network, options.out, shape, settings)
        print(f"{path}: moving, fixed to moved, displacement; {path.stat().st_size / 2**20:.1f} MiB")
        return
    free_folder(options.out)
    network = load_model(options.model)
    settings, warm_up = _settings(options, network.descent), options.serving_warmup or ()
    folder = export_savedmodel(network, options.out, options.precision, warm_up, settings)
    size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
    print(f"{folder}: signatures serving_default, register, warp; {size / 2**20:.1f} MiB")


def _settings(options: Options, own: dict[str, Any]) -> DescentConfig | None:
    from bilevelmorph.registration.quality import descent_settings

    found = descent_settings(
        options.quality, options.settings, options.instance_steps, options.similarity, own
    )
    # The size of the images is not known, so "balanced" leaves out full resolution always.
    coarse = options.quality == "balanced" and options.instance_steps is None
    return found.only_coarse() if found and coarse else found
