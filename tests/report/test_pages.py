"""Pages to look at, in a real browser where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bilevelmorph.data.volume import Volume
from bilevelmorph.registration import Registrar
from bilevelmorph.registration.output_paths import OutputPaths
from bilevelmorph.report.cohort_page import write_cohort_page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module", params=[(20, 24), (16, 20, 18)], ids=["2-D", "3-D"])
def page(request, tmp_path_factory):
    scan = gaussian_filter(np.random.default_rng(0).random(request.param), 2).astype(np.float32)
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    pair = Volume(np.roll(scan, 1, 0), affine, name="a<b>.nii"), Volume(scan, affine, name="fixed.nii")
    result = Registrar(None)(*pair)
    result.warnings.append("a <doubt> & another")
    path = tmp_path_factory.mktemp("page") / "look.html"
    OutputPaths(report=str(path)).write(result)
    return path


def browsed(path, milliseconds):
    """What a browser makes of a page after some time."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    flags += ["--disable-component-update", "--disable-sync", f"--user-data-dir={path.parent / 'profile'}"]
    command = [CHROMIUM, *flags, f"--virtual-time-budget={milliseconds}", "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_it_needs_nothing_else_and_shows_no_markup_of_names(page):
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r'(?:src|href)="([^"]{5})', text)) == {"data:"}
    assert "a&lt;b&gt;.nii to fixed.nii" in text
    assert "a &lt;doubt&gt; &amp; another" in text
    assert "similarity after" in text


def test_fixed_and_moved_in_turn(page):
    seen = set()
    for milliseconds in (100, 900):
        text = browsed(page, milliseconds)
        seen.add(re.search(r'data-shown="(\w+)"', text).group(1))
        views = text.count('<div class="view"')
        assert text.count("display: block") == views == (1 if "slice 2" not in text else 3)
    assert seen == {"fixed", "moved"}


def test_of_a_cohort_the_worst_first(tmp_path):
    (tmp_path / "pairs" / "x").mkdir(parents=True)
    (tmp_path / "pairs" / "x" / "figure.png").touch()
    rows = [
        {"moving": "good.nii", "fixed": "f.nii", "dice": "0.9", "warnings": "", "moved": ""},
        {"moving": "poor.nii", "fixed": "f.nii", "dice": "0.4", "warnings": "", "moved": ""},
        {
            "moving": "folded.nii",
            "fixed": "f.nii",
            "dice": "0.8",
            "warnings": "2 % of voxels fold",
            "moved": str(tmp_path / "pairs" / "x" / "moved.nii.gz"),
        },
    ]
    failed = [{"moving": "lost.nii", "fixed": "f.nii", "error": "no <such> file"}]
    write_cohort_page(tmp_path / "index.html", rows, failed)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    order = [text.index(f"{name}.nii") for name in ("lost", "folded", "poor", "good")]
    assert order == sorted(order)
    assert "3 pairs registered, 1 of them with warnings; 1 failed." in text
    assert 'href="pairs/x/figure.png"' in text
    assert "no &lt;such&gt; file" in text
    assert text.count('class="doubt"') == 2
