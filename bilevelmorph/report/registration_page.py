"""A page to look at a registration: fixed and moved image in turn, slice by slice, with the numbers."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bilevelmorph.report.html_page import embedded, picture, table, write_html

SLICES = 9
_WIDTH = 300  # pixels of a view
_STYLE = (
    ".views{display:flex;flex-wrap:wrap;gap:1em}.view{background:#000;position:relative}"
    ".view img{position:absolute;left:0;top:0;width:100%;height:100%;display:none}"
    ".doubt{background:#fdf3e1;padding:.4em .8em}button.on{background:#cde}"
)
# Shows one of the three images of the chosen slice in every view; flicker takes fixed and moved in turn.
_SCRIPT = """<script>
let shown = "fixed", flicker = true;
const views = [...document.querySelectorAll(".view")];
function draw() {
  for (const view of views)
    for (const img of view.querySelectorAll("img"))
      img.style.display =
        img.dataset.image === shown && img.dataset.slice === view.dataset.slice ? "block" : "none";
  for (const b of document.querySelectorAll("button"))
    b.className = (b.dataset.show === "flicker" ? flicker : !flicker && b.dataset.show === shown) ? "on" : "";
  document.body.dataset.shown = shown;
}
for (const b of document.querySelectorAll("button")) b.onclick = () => {
  flicker = b.dataset.show === "flicker"; if (!flicker) shown = b.dataset.show; draw();
};
for (const s of document.querySelectorAll("input")) s.oninput = () => {
  views[s.dataset.view].dataset.slice = s.value; draw();
};
setInterval(() => { if (flicker) { shown = shown === "fixed" ? "moved" : "fixed"; draw(); } }, 700);
draw();
</script>"""


def write_registration_page(
    path: str | Path,
    images: Mapping[str, np.ndarray],
    spacing: Sequence[float],
    figure: bytes,
    summary: Mapping[str, Any],
) -> None:
    """Write a self-contained page.

    Args:
        path: HTML file to write.
        images: ``moving`` before registration, ``fixed`` and ``moved``, ``[*S]`` in [0, 1] on the
            fixed grid.
        spacing: Voxel size along each axis.
        figure: PNG with differences, deformation and Jacobian.
        summary: `Registration.summary`.
    """
    numbers = [(k.replace("_", " "), f"{v:.4g}") for k, v in summary.items() if isinstance(v, float)]
    levels = [
        (f"1/{x['level']}", str(x["iterations"]), f"{x['before']:.4f}", f"{x['after']:.4f}")
        for x in summary.get("instance_optimization", ())
    ]
    names = [html.escape(Path(str(summary[k])).name) for k in ("moving", "fixed")]
    buttons = [("flicker", "flicker"), ("fixed", "fixed"), ("moved", "moved"), ("moving", "before")]
    parts = [
        f"<h1>{names[0]} to {names[1]}</h1>",
        *(f'<p class="doubt">&#9888; {html.escape(text)}</p>' for text in summary["warnings"]),
        "<p>" + " ".join(f'<button data-show="{k}">{text}</button>' for k, text in buttons) + "</p>",
        f'<div class="views">{"".join(_views(images, spacing))}</div>',
        picture(figure, "differences before and after, deformed grid over the Jacobian determinant"),
        table(("quantity", "value"), numbers),
    ]
    if levels:
        parts += ["<h2>Instance optimisation</h2>"]
        parts += [table(("resolution", "iterations", "objective before", "after"), levels)]
    write_html(path, f"{names[0]} to {names[1]}", [*parts, _SCRIPT], _STYLE)


def _views(images: Mapping[str, np.ndarray], spacing: Sequence[float]) -> list[str]:
    """HTML of every viewing direction, with all slices of all images, of which the script shows one."""
    shape = images["fixed"].shape
    axes: list[int | None] = [2, 1, 0] if len(shape) == 3 else [None]
    out = []
    for number, axis in enumerate(axes):
        plane = [a for a in range(len(shape)) if a != axis]
        wide, high = (shape[a] * spacing[a] for a in plane)
        size = f"width:{_WIDTH}px;height:{round(_WIDTH * high / wide)}px"
        last = 1 if axis is None else min(SLICES, shape[axis])
        # Evenly over the middle four fifths, since the first and last slices are mostly empty.
        at = [0] if axis is None else np.linspace(0.1, 0.9, last) * (shape[axis] - 1)
        pictures = [
            f'<img alt="{name}, slice {k + 1}" data-image="{name}" data-slice="{k}" '
            f'src="{_png(data, axis, i)}">'
            for name, data in images.items()
            for k, i in enumerate(np.rint(at).astype(int))
        ]
        slider = f'<input type="range" min="0" max="{last - 1}" value="{last // 2}" data-view="{number}">'
        view = f'<div class="view" style="{size}" data-slice="{last // 2}">{"".join(pictures)}</div>'
        out.append(f"<div>{view}{slider if last > 1 else ''}</div>")
    return out


def _png(data: np.ndarray, axis: int | None, index: int) -> str:
    """A slice as the address of a PNG, its second axis upwards."""
    from matplotlib.image import imsave

    plane = data if axis is None else np.take(data, index, axis)
    stream = io.BytesIO()
    imsave(stream, plane.T[::-1], cmap="gray", vmin=0, vmax=1, format="png")
    return embedded(stream.getvalue())
