"""A view of a registration in three dimensions, for pages: NiiVue, as nilearn brings it."""

from __future__ import annotations

import base64
import gzip
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np

_SCRIPT = """
(async () => {
  const options = {backColor: [0, 0, 0, 1], crosshairWidth: 0.3, isColorbar: false, logLevel: "error"};
  const views = {};
  for (const name of ["fixed", "moved"]) {
    views[name] = new niivue.Niivue(options);
    await views[name].attachTo("view-" + name);
  }
  for (const [view, name] of [["fixed", "fixed"], ["moved", "moving"], ["moved", "moved"]]) {
    const data = document.getElementById("volume-" + name).textContent.trim();
    const given = {base64: data, name: name + ".nii.gz", colormap: "gray"};
    views[view].addVolume(await niivue.NVImage.loadFromBase64(given));
  }
  for (const view of Object.values(views)) view.setSliceType(view.sliceTypeMultiplanar);
  views.fixed.broadcastTo([views.moved], {"2d": true, "3d": true});
  views.moved.broadcastTo([views.fixed], {"2d": true, "3d": true});
  const slider = document.getElementById("view-slider");
  slider.oninput = () => {
    views.moved.setOpacity(0, 1 - Number(slider.value));
    views.moved.setOpacity(1, Number(slider.value));
    document.body.dataset.opacity = slider.value;
  };
  slider.oninput();
  requestAnimationFrame(() => requestAnimationFrame(() => { document.body.dataset.view = "ready"; }));
})();
"""


def niivue() -> str | None:
    """The source of NiiVue that nilearn brings, or None where there is none."""
    found = importlib.util.find_spec("nilearn")
    places = found.submodule_search_locations if found is not None else None
    path = Path(next(iter(places), "")) / "_assets" / "js" / "niivue.umd.js" if places else None
    return path.read_text(encoding="utf-8") if path is not None and path.is_file() else None


def registration_view(volumes: Mapping[str, np.ndarray], affine: np.ndarray, title: str) -> str:
    """HTML of two linked views: the fixed image, and the moving one before and after registration.

    Args:
        volumes: ``fixed``, ``moving`` and ``moved``, ``[X, Y, Z]`` uint8 on one grid.
        affine: ``[4, 4]`` affine of that grid.
        title: What is seen, as HTML.

    Returns:
        The HTML; a line that says so where NiiVue is missing.
    """
    script = niivue()
    heading = f"<h2>{title}</h2>"
    if script is None:
        return f"{heading}<p>The view in three dimensions needs nilearn: pip install nilearn</p>"
    parts = [
        f'<script type="text/plain" id="volume-{name}">{_encoded(data, affine)}</script>'
        for name, data in volumes.items()
    ]
    canvas = "".join(
        f'<div style="flex:1;min-width:0"><p>{text}</p><div style="height:420px;position:relative">'
        f'<canvas id="view-{name}"></canvas></div></div>'
        for name, text in (("fixed", "fixed"), ("moved", "moving, before and after registration"))
    )
    slider = (
        '<p>before <input type="range" id="view-slider" min="0" max="1" step="0.05" value="1" '
        'style="width:20em;vertical-align:middle"> after</p>'
    )
    rows = f'{slider}<div style="display:flex;gap:1em">{canvas}</div>'
    return f"{heading}{rows}{''.join(parts)}<script>{script}</script><script>{_SCRIPT}</script>"


def _encoded(data: np.ndarray, affine: np.ndarray) -> str:
    image = nib.Nifti1Image(np.asarray(data, np.uint8), affine)
    # No time stamp: the same view gives the same page.
    return base64.b64encode(gzip.compress(image.to_bytes(), mtime=0)).decode()
