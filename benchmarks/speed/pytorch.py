"""PyTorch's side of the comparison of speed: grid_sample and conv3d; run by `benchmarks.speed`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PACKAGES = ("torch", "numpy")
MODULES = ("torch", "numpy")
SETTINGS: dict[str, str] = {}
_ready: dict[str, Callable[[], Any]] = {}


def prepare(case: Any) -> Callable[[], Any]:
    """The function to time, warmed up."""
    if case.setting not in _ready:
        import numpy as np
        import torch

        torch.set_num_threads(case.threads)
        with np.load(case.fixed) as file:
            arrays = {key: file[key] for key in file.files}
        name = case.setting.partition("@")[0]
        _ready[case.setting] = globals()[f"_{name}"](torch, arrays)
        for _ in range(2):
            _ready[case.setting]()
    return _ready[case.setting]


def register(prepared: Callable[[], Any]) -> Any:
    """The timed call."""
    return prepared()


def save(prepared: Any, result: Any, path: str) -> None:
    """Nothing is kept."""


def _tensor(torch: Any, array: Any) -> Any:
    """``[1, C, *S]``."""
    import numpy as np

    data = array[None] if array.ndim == 3 else np.moveaxis(array, -1, 0)
    return torch.from_numpy(np.ascontiguousarray(data)[None])


def _positions(torch: Any, field: Any) -> Any:
    axes = [torch.arange(n, dtype=torch.float32) for n in field.shape[2:]]
    sizes = torch.tensor(field.shape[2:], dtype=torch.float32).view(1, 3, 1, 1, 1)
    where = 2 * (torch.stack(torch.meshgrid(*axes, indexing="ij"))[None] + field) / (sizes - 1) - 1
    return where.permute(0, 2, 3, 4, 1).flip(-1)


def _sampled(torch: Any, image: Any, field: Any) -> Any:
    sample = torch.nn.functional.grid_sample
    return sample(image, _positions(torch, field), align_corners=True, padding_mode="border")


def _warp(torch: Any, arrays: dict[str, Any]) -> Callable[[], Any]:
    image, field = (_tensor(torch, arrays[key]) for key in ("moving", "field"))
    return lambda: _sampled(torch, image, field).numpy()


def _warp_gradient(torch: Any, arrays: dict[str, Any]) -> Callable[[], Any]:
    image, field = (_tensor(torch, arrays[key]).requires_grad_() for key in ("moving", "field"))

    def run() -> Any:
        total = (_sampled(torch, image, field) ** 2).sum()
        return [g.numpy() for g in torch.autograd.grad(total, [image, field])]

    return run


def _integration(torch: Any, arrays: dict[str, Any]) -> Callable[[], Any]:
    velocity = _tensor(torch, arrays["velocity"])

    def run() -> Any:
        step = velocity / 2**7
        for _ in range(7):
            step = step + _sampled(torch, step, step)
        return step.numpy()

    return run


def _convolution(torch: Any, arrays: dict[str, Any]) -> Callable[[], Any]:
    features = _tensor(torch, arrays["velocity"])[:, :1].repeat(1, 16, 1, 1, 1)
    layer = torch.nn.Conv3d(16, 16, 3, padding=1)

    def run() -> Any:
        with torch.no_grad():
            return layer(features).numpy()

    return run
