"""VoxelMorph's scripts with the flags that its users type, on its kinds of files."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from bilevelmorph.io.csv import read_rows
from bilevelmorph.io.volumes import load_volume

pytestmark = pytest.mark.usefixtures("plain_graphs")
ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--enc", "4", "8", "--dec", "8", "4", "--int-steps", "3", "--gpu", "-1"]


def script(name, *arguments):
    """Run a file of scripts/ as a person would; its exit status."""
    old, sys.argv = sys.argv, [name, *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")
    finally:
        sys.argv = old
    return end.value.code


def truth(at, shape):
    """A blob and a ring, smooth, of positions."""
    d = np.hypot(at[0] - shape[0] / 2, at[1] - shape[1] / 2)
    return np.exp(-((d / 3.5) ** 2)) + 0.7 * np.exp(-(((d - 7) / 1.2) ** 2))


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """One anatomy in twelve deformations that are zero on average: images, label maps and lists of them."""
    folder, shape, count = tmp_path_factory.mktemp("scans"), (24, 24), 12
    rng = np.random.default_rng(3)
    at = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)
    fields = np.stack([[gaussian_filter(rng.normal(size=shape), 4) for _ in "xy"] for _ in range(count)])
    fields = 2.2 * (fields - fields.mean(0)) / fields.std()
    clean = truth(at, shape)
    for i, field in enumerate(fields):
        image = map_coordinates(clean, at + field, order=1, mode="nearest")
        labels = (image > 0.5).astype(np.uint8)
        np.savez(folder / f"scan{i}_img.npz", vol=(100 * image).astype(np.float32))
        np.savez(folder / f"scan{i}_seg.npz", seg=labels)
    np.savez(folder / "clean.npz", vol=clean.astype(np.float32))
    (folder / "list.txt").write_text("".join(f"{folder}/scan{i}\n" for i in range(count)), encoding="utf-8")
    (folder / "pairs.txt").write_text(f"{folder}/scan0 {folder}/scan1\n{folder}/scan2 {folder}/scan3\n")
    np.save(folder / "labels.npy", np.array([0, 1]))
    return folder


def test_semisupervised_then_test(scans, tmp_path, capsys):
    names = ["--img-suffix", "_img.npz", "--seg-suffix", "_seg.npz", "--labels", scans / "labels.npy"]
    flags = ["--img-list", scans / "list.txt", *names, "--model-dir", tmp_path, "--epochs", 2]
    weights = ["--grad-loss-weight", 0.02, "--dice-loss-weight", 0.5, "--lr", 1e-3, "--steps-per-epoch", 4]
    assert script("train_semisupervised_seg.py", *flags, *weights, *SMALL, "--quiet") == 0
    rows = read_rows(tmp_path / "log.csv")
    assert all(0 < float(r["dice"]) < 1 for r in rows)
    capsys.readouterr()

    pairs = [
        "--pairs",
        scans / "pairs.txt",
        *names,
        "--model",
        tmp_path / "0002.keras",
        "--gpu",
        "-1",
        "--quiet",
    ]
    assert script("test.py", *pairs) == 0
    said = capsys.readouterr().out
    assert "Dice" in said
    assert "2 pairs" in said


def test_label_maps_that_are_asked_for_and_missing(scans, tmp_path, capsys):
    flags = ["--img-list", scans / "list.txt", "--img-suffix", "_img.npz", "--model-dir", tmp_path, "--quiet"]
    assert script("train_semisupervised_seg.py", *flags) == 2
    assert "no label values" in capsys.readouterr().err
    assert script("train_semisupervised_seg.py", *flags, "--labels", scans / "labels.npy") == 2
    assert "no label map for" in capsys.readouterr().err
    (tmp_path / "bad.txt").write_text("1 2 x", encoding="utf-8")
    assert script("train_semisupervised_seg.py", *flags, "--labels", tmp_path / "bad.txt") == 2
    assert "no list of labels" in capsys.readouterr().err
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object))
    assert script("train_semisupervised_seg.py", *flags, "--labels", tmp_path / "pickled.npy") == 2
    assert "no list of labels" in capsys.readouterr().err


def test_instance_begins_with_nothing_and_gets_better(scans, tmp_path, capsys):
    pair = ["--moving", scans / "scan0_img.npz", "--fixed", scans / "scan1_img.npz"]
    out = ["--moved", tmp_path / "moved.nii.gz", "--warp", tmp_path / "warp.nii.gz"]
    flags = ["--steps", 40, "--image-loss", "mse", "--lambda", 0.001, "--lr", 1e-4, "--gpu", "-1"]
    assert script("train_instance.py", *pair, *out, *flags) == 0
    assert "local correlation" in capsys.readouterr().out
    moving, fixed, moved = (load_volume(p).data for p in (pair[1], pair[3], out[1]))
    assert np.mean((moved - fixed) ** 2) < 0.5 * np.mean((moving - fixed) ** 2)
    assert script("train_instance.py", *pair, *out, "--steps", 0) == 2
    assert "--steps: got 0" in capsys.readouterr().err


def test_a_template_is_sharper_than_the_mean_and_nearer_to_the_truth(scans, tmp_path):
    flags = ["--img-list", scans / "list.txt", "--img-suffix", "_img.npz", "--model-dir", tmp_path, *SMALL]
    flags += ["--shape", 24, 24, "--percentiles", 0, 100, "--lr", 1e-3, "--steps-per-epoch", 60, "--quiet"]
    flags += ["--enc", 8, 16, "--dec", 16, 8, "--lr-schedule", "cosine", "--epochs", 8]
    assert script("train_template.py", *flags, "--lambda", 0.02) == 0
    clean = load_volume(scans / "clean.npz").data
    clean = (clean - clean.min()) / np.ptp(clean)
    errors = [
        np.mean((load_volume(tmp_path / f"{n}.nii.gz").data - clean) ** 2)
        for n in ("init_template", "template")
    ]
    assert errors[1] < 0.7 * errors[0]
    rows = read_rows(tmp_path / "log.csv")
    assert float(rows[-1]["similarity"]) < 0.6 * float(rows[0]["similarity"])
    # Nothing is reached by moving everybody the same way.
    assert float(rows[-1]["mean"]) < 0.2


def test_a_template_resumes_with_the_same_bits(scans, tmp_path):
    base = [
        "--img-list",
        scans / "list.txt",
        "--img-suffix",
        "_img.npz",
        *SMALL,
        "--steps-per-epoch",
        2,
        "--quiet",
    ]
    assert script("train_template.py", *base, "--model-dir", tmp_path / "whole", "--epochs", 2) == 0
    assert script("train_template.py", *base, "--model-dir", tmp_path / "parts", "--epochs", 1) == 0
    assert (
        script("train_template.py", *base, "--model-dir", tmp_path / "parts", "--epochs", 2, "--resume") == 0
    )
    whole, parts = (load_volume(tmp_path / f / "template.nii.gz").data for f in ("whole", "parts"))
    np.testing.assert_array_equal(whole, parts)
    assert script("train_template.py", *base, "--model-dir", tmp_path / "x", "--image-loss-weight", 2) == 2
