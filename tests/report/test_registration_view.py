"""The view in three dimensions, in a real browser where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bilevelmorph.report.html_page import write_html
from bilevelmorph.report.registration_view import niivue, registration_view

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(niivue() is None, reason="nilearn is not installed")


@pytest.fixture(scope="module")
def volumes():
    rng = np.random.default_rng(0)
    smooth = (gaussian_filter(rng.random((20, 24, 18)), 3) for _ in range(3))
    scaled = ((x - x.min()) / np.ptp(x) * 255 for x in smooth)
    return dict(zip(("fixed", "moving", "moved"), (x.astype(np.uint8) for x in scaled), strict=True))


def test_it_needs_nothing_else_and_is_the_same_each_time(volumes):
    text = registration_view(volumes, np.eye(4), "A pair")
    assert text == registration_view(volumes, np.eye(4), "A pair")
    assert "<h2>A pair</h2>" in text
    assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="http', text)
    assert all(f'id="volume-{name}"' in text for name in volumes)


def test_the_slider_changes_the_picture(volumes, tmp_path):
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    from matplotlib.image import imread

    seen = {}
    for value in ("1", "0"):
        view = registration_view(volumes, np.eye(4), "A pair").replace(
            'value="1" style', f'value="{value}" style'
        )
        page, shot = tmp_path / f"{value}.html", tmp_path / f"{value}.png"
        write_html(page, "A pair", [view])
        flags = ["--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"]
        flags += ["--enable-unsafe-swiftshader", "--window-size=1000,620", "--virtual-time-budget=6000"]
        flags += [
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={shot}",
        ]
        done = subprocess.run(
            [CHROMIUM, *flags, page.as_uri()], capture_output=True, text=True, check=True, timeout=240
        )
        said = re.findall(r":(?:ERROR|WARNING):CONSOLE.*", done.stderr)
        assert said == []
        seen[value] = imread(shot)[170:580, :, :3]
    left, right = (slice(None), slice(30, 480)), (slice(None), slice(505, 955))
    # The views are drawn, that of the fixed image stays, that of the moving one changes.
    assert all(picture[part].std() > 0.05 for picture in seen.values() for part in (left, right))
    assert np.abs(seen["0"][left] - seen["1"][left]).max() == 0
    assert np.abs(seen["0"][right] - seen["1"][right]).mean() > 0.01
