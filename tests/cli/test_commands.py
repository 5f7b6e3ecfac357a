"""The commands do what they say, and their files fit together."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bilevelmorph import __version__
from bilevelmorph.cli.main import COMMANDS, main
from bilevelmorph.config import DescentConfig
from bilevelmorph.data.geometry import sample_field, transform_points, voxel_positions, warp_volume
from bilevelmorph.data.volume import Volume
from bilevelmorph.io.json import read_json
from bilevelmorph.io.volumes import load_volume, load_voxels, save_volume
from bilevelmorph.io.warps import load_warp, warp_points
from bilevelmorph.metrics import dice

ROOT = Path(__file__).resolve().parents[2]
OUTPUTS = {"--moved": "moved.nii.gz", "--warp": "warp.nii.gz", "--inverse-warp": "inverse.npz"}
OUTPUTS |= {"--moved-seg": "moved_seg.nii.gz", "--figure": "figure.png"}


def run(*arguments):
    assert main([str(a) for a in arguments]) == 0


def rows_of(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def registered(inputs, tiny_model, tmp_path_factory):
    """The folder with every output of one `register`."""
    out = tmp_path_factory.mktemp("registered")
    flags = [part for flag, name in OUTPUTS.items() for part in (flag, out / name)]
    moving, fixed = inputs / "moving.nii.gz", inputs / "fixed.nii.gz"
    flags += ["--moving-seg", inputs / "moving_seg.nii.gz", "--fixed-mask", inputs / "mask.nii.gz"]
    run("register", "--moving", moving, "--fixed", fixed, "--model", tiny_model, *flags)
    return out


def test_register_writes_everything(registered, inputs):
    assert sorted(p.name for p in registered.iterdir()) == sorted(OUTPUTS.values())
    fixed = load_volume(inputs / "fixed.nii.gz")
    moved, seg = nib.load(registered / "moved.nii.gz"), nib.load(registered / "moved_seg.nii.gz")
    displacement, grid = load_warp(registered / "warp.nii.gz")
    for image in (moved, seg):
        assert image.shape == fixed.shape
        np.testing.assert_allclose(image.affine, fixed.affine, atol=1e-6)
    np.testing.assert_allclose(grid, fixed.affine, atol=1e-6)
    assert moved.get_data_dtype() == np.float32
    assert seg.get_data_dtype() == np.uint8
    assert set(np.unique(seg.dataobj)) <= {0, 1, 2, 3}
    assert np.linalg.norm(displacement, axis=-1).mean() > 0.3
    assert (registered / "figure.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.usefixtures("plain_graphs")
@pytest.mark.parametrize(
    ("quality", "asks", "said"), [("fast", True, True), ("best", True, False), ("fast", False, False)]
)
def test_what_best_would_do_is_said(inputs, tiny_model, tmp_path, capsys, quality, asks, said):
    """But not of a model that wants no instance optimisation."""
    files = ["--moving", inputs / "moving.nii.gz", "--fixed", inputs / "fixed.nii.gz"]
    files += ["--moved", tmp_path / "moved.nii.gz"]
    if asks:
        DescentConfig(levels=(1,), iterations=(1,), similarity=("mse",)).save(tmp_path / "one.json")
        files += ["--settings", tmp_path / "one.json"]
    run("register", *files, "--model", tiny_model, "--quality", quality, "--quiet")
    assert ("--quality best takes longer" in capsys.readouterr().out) == said


def test_register_moves_with_the_displacement_that_it_writes(registered, inputs):
    displacement, grid = load_warp(registered / "warp.nii.gz")
    expected = warp_volume(load_volume(inputs / "moving.nii.gz"), displacement, grid)
    np.testing.assert_allclose(load_volume(registered / "moved.nii.gz").data, expected.data, atol=1e-2)


def test_inverse_warp_undoes_the_warp(registered, inputs):
    forward, grid = load_warp(registered / "warp.nii.gz")
    inverse, moving_grid = load_warp(registered / "inverse.npz")
    moving = load_volume(inputs / "moving.nii.gz")
    assert inverse.shape == (*moving.shape, 3)
    np.testing.assert_allclose(moving_grid, moving.affine, atol=1e-6)
    here = voxel_positions(forward.shape[:-1])[3:-3, 3:-3, 3:-3].astype(float)
    points = transform_points(grid, here).reshape(-1, 3)
    there = warp_points(points, forward, grid)
    back = warp_points(there, inverse, moving_grid)
    size = np.linalg.norm(there - points, axis=-1)
    assert np.linalg.norm(back - points, axis=-1).mean() < 0.1 * size.mean()


def test_register_reports(inputs, tiny_model, tmp_path, capsys):
    moving, fixed = inputs / "moving.nii.gz", inputs / "fixed.nii.gz"
    run(
        "register", "--moving", moving, "--fixed", fixed, "--moved", tmp_path / "a.npz", "--model", tiny_model
    )
    said = capsys.readouterr().out
    for words in (
        "local correlation before",
        "local correlation after",
        "mean displacement",
        "folded voxels",
    ):
        assert words in said
    assert load_volume(tmp_path / "a.npz").shape == load_volume(fixed).shape


@pytest.mark.usefixtures("plain_graphs")
def test_register_optimises(inputs, tiny_model, tmp_path, capsys):
    """After the model and without one; the report says what each level gained."""
    pair = ["--moving", inputs / "moving.nii.gz", "--fixed", inputs / "fixed.nii.gz"]
    run("register", *pair, "--model", tiny_model, "--instance-steps", 2, 3, "--out", tmp_path / "a")
    levels = read_json(tmp_path / "a" / "report.json", "a report")["instance_optimization"]
    assert [level["level"] for level in levels] == [2, 1]
    assert all(level["after"] <= level["before"] for level in levels)
    assert capsys.readouterr().out.count("optimised at 1/") == 2
    DescentConfig(levels=(1,), iterations=(4,), similarity=("mse",)).save(tmp_path / "mine.json")
    flags = ["--model", "none", "--settings", tmp_path / "mine.json", "--affine", "rigid"]
    run("register", *pair, *flags, "--out", tmp_path / "b")
    report = read_json(tmp_path / "b" / "report.json", "a report")
    assert [level["iterations"] for level in report["instance_optimization"]] == [4]
    assert report["similarity_after"] > report["similarity_before"]


def test_register_warns_on_stderr(inputs, tiny_model, tmp_path, capsys):
    far = load_volume(inputs / "moving.nii.gz")
    affine = far.affine.copy()
    affine[0, 3] += 200
    save_volume(tmp_path / "far.nii", Volume(far.data, affine))
    files = [
        "--moving",
        tmp_path / "far.nii",
        "--fixed",
        inputs / "fixed.nii.gz",
        "--moved",
        tmp_path / "a.nii",
    ]
    run("register", *files, "--model", tiny_model)
    assert "warning: the centres are" in capsys.readouterr().err
    run("register", *files, "--model", tiny_model, "--start", "centre")
    assert "centres" not in capsys.readouterr().err


def test_register_reads_and_writes_other_formats(inputs, tiny_model, tmp_path):
    fixed = load_volume(inputs / "fixed.nii.gz")
    np.savez(tmp_path / "moving.npz", vol=load_volume(inputs / "moving.nii.gz").data)
    nib.save(nib.MGHImage(fixed.data, fixed.affine.astype(np.float32)), tmp_path / "fixed.mgz")
    out = tmp_path / "out"
    out.mkdir()
    files = [
        "--moving",
        tmp_path / "moving.npz",
        "--fixed",
        tmp_path / "fixed.mgz",
        "--moved",
        out / "a.nii.gz",
    ]
    run("register", *files, "--model", tiny_model, "--start", "centre", "--affine", "rigid")
    np.testing.assert_allclose(nib.load(out / "a.nii.gz").affine, fixed.affine, atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), [("moving", "image"), ("moving_seg", "labels")])
@pytest.mark.parametrize("ending", [".nii.gz", ".npz"])
def test_warp_reproduces_register(registered, inputs, tmp_path, capsys, name, kind, ending):
    out = tmp_path / f"again{ending}"
    moving = inputs / f"{name}.nii.gz"
    run("warp", "--moving", moving, "--warp", registered / "warp.nii.gz", "--moved", out)
    assert f"{kind}, {load_voxels(moving).data.dtype}, 12x14x16" in capsys.readouterr().out
    again = load_voxels(out, kind)
    expected = load_voxels(registered / f"{name.replace('moving', 'moved')}.nii.gz")
    assert again.data.dtype == expected.data.dtype
    np.testing.assert_allclose(again.data, expected.data, atol=1e-2 if kind == "image" else 0)
    np.testing.assert_allclose(again.affine, expected.affine, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float16, np.float64])
def test_warp_of_an_image_keeps_its_dtype(registered, inputs, tmp_path, dtype):
    moving = load_volume(inputs / "moving.nii.gz")
    scaled = moving.with_data(np.round(moving.data * 250 / moving.data.max()).astype(dtype))
    save_volume(tmp_path / "in.npz", scaled)
    files = [
        "--moving",
        tmp_path / "in.npz",
        "--warp",
        registered / "warp.nii.gz",
        "--moved",
        tmp_path / "a.npz",
    ]
    run("warp", *files, "--kind", "image")
    moved = load_voxels(tmp_path / "a.npz").data
    displacement, grid = load_warp(registered / "warp.nii.gz")
    expected = warp_volume(scaled.with_data(scaled.data.astype(np.float32)), displacement, grid).data
    assert moved.dtype == dtype
    np.testing.assert_allclose(moved, expected, atol=0.5001 if np.issubdtype(dtype, np.integer) else 0.2)


def test_warp_writes_float16_as_nifti(registered, inputs, tmp_path):
    moving = load_volume(inputs / "moving.nii.gz")
    save_volume(tmp_path / "in.npz", moving.with_data(moving.data.astype(np.float16)))
    files = ["--moving", tmp_path / "in.npz", "--warp", registered / "warp.nii.gz"]
    run("warp", *files, "--moved", tmp_path / "a.nii.gz")
    moved = load_voxels(registered / "moved.nii.gz").data
    np.testing.assert_allclose(load_voxels(tmp_path / "a.nii.gz").data, moved, atol=1)


def test_warp_tells_labels_from_images(registered, inputs, tmp_path, capsys):
    """Integers with many values are an image; `--interp` has the last word."""
    moving = load_volume(inputs / "moving.nii.gz")
    many = np.round(moving.data).astype(np.int16)
    assert len(np.unique(many)) > 512
    save_volume(tmp_path / "many.nii.gz", moving.with_data(many))
    files = ["--moving", tmp_path / "many.nii.gz", "--warp", registered / "warp.nii.gz"]
    run("warp", *files, "--moved", tmp_path / "linear.nii.gz")
    run("warp", *files, "--moved", tmp_path / "nearest.nii.gz", "--interp", "nearest")
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["image,", "labels,"]
    linear, nearest = (load_voxels(tmp_path / f"{n}.nii.gz").data for n in ("linear", "nearest"))
    assert linear.dtype == nearest.dtype == np.int16
    assert set(np.unique(nearest)) <= set(np.unique(many)) | {0}
    exact = load_voxels(registered / "moved.nii.gz").data
    np.testing.assert_allclose(linear, exact, atol=1.01)
    assert np.abs(nearest - exact).mean() > np.abs(linear - exact).mean()


@pytest.mark.parametrize("space", ["ras", "lps"])
def test_warp_points(registered, inputs, tmp_path, space):
    out = tmp_path / "moved.csv"
    warp = registered / "warp.nii.gz"
    run("warp-points", "--points", inputs / "points.csv", "--warp", warp, "--moved", out, "--space", space)
    rows = rows_of(out)
    assert list(rows[0]) == ["name", "x", "y", "z"]
    assert [r["name"] for r in rows] == ["a", "b"]
    flip = np.array([-1, -1, 1]) if space == "lps" else np.ones(3)
    points = np.array([[-10, -9, 5], [-8, -6, 9.5]]) * flip
    displacement, grid = load_warp(warp)
    voxels = transform_points(np.linalg.inv(grid), points)
    expected = transform_points(grid, voxels + sample_field(displacement, voxels)) * flip
    np.testing.assert_allclose([[float(r[a]) for a in "xyz"] for r in rows], expected, atol=1e-5)


def test_evaluate(inputs, tiny_model, registered, tmp_path, capsys):
    out, labels = tmp_path / "scores.csv", tmp_path / "labels"
    flags = ["--pairs", inputs / "pairs.csv", "--out", out, "--save-moved", labels, "--quiet"]
    run("evaluate", *flags, "--model", tiny_model)
    (row,) = rows_of(out)
    numbers = {
        "dice",
        "hd95_mm",
        "dice_1",
        "dice_2",
        "dice_3",
        "folding_percent",
        "log_jacobian_sd",
        "seconds",
    }
    assert {"moving", "fixed"} | numbers <= set(row)
    assert (row["moving"], row["fixed"]) == ("moving.nii.gz", "fixed.nii.gz")
    (written,) = labels.iterdir()
    moved = load_volume(written, "labels").data
    # What `register` wrote for the same pair.
    np.testing.assert_array_equal(moved, load_voxels(registered / "moved_seg.nii.gz").data)
    scores = dice(moved, load_volume(inputs / "fixed_seg.nii.gz", "labels").data)
    for label, value in scores.items():
        assert float(row[f"dice_{label}"]) == pytest.approx(value, abs=1e-5)
    assert float(row["dice"]) == pytest.approx(np.mean(list(scores.values())), abs=1e-5)
    summary = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert (summary["pairs"], summary["method"]) == (1, "model")
    assert numbers <= set(summary)
    assert summary["dice"]["mean"] == pytest.approx(float(row["dice"]), abs=1e-5)
    assert "Dice" in capsys.readouterr().out


def test_evaluate_without_a_model(inputs, tmp_path):
    flags = ["--pairs", inputs / "pairs.csv", "--out", tmp_path / "a.csv", "--quiet"]
    run("evaluate", *flags, "--method", "identity")
    summary = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert (summary["model"], summary["folding_percent"]["mean"]) == (None, 0)


# Scripts that have VoxelMorph's name for a command, and those that are a command with other defaults.
OURS = {"instance": "train_instance", "template": "train_template"}
VARIANTS = {"train_bilevel": "train", "train_semisupervised_seg": "train", "test": "evaluate"}


def words_of(text):
    """What a help says, whatever the frames around it, which are as wide as the program's name allows."""
    words = re.sub(r"[│╭╰─╮╯|+]", " ", text).split()
    return sorted(word for word in words if set(word) != {"-"})


SCRIPTS = [*((OURS.get(c, c.replace("-", "_")), c) for c in COMMANDS), *VARIANTS.items()]
HELP = """
import contextlib, io, json, runpy, sys
said = {}
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            assert end.code == 0, (script, end.code)
    assert not {"tensorflow", "keras"} & set(sys.modules), script
    said[script] = out.getvalue()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said_by_scripts():
    """The help of every script, by one process that never loads TensorFlow."""
    scripts = [str(ROOT / "scripts" / f"{name}.py") for name, _ in SCRIPTS]
    command, around = [sys.executable, "-c", HELP, *scripts], {**os.environ, "COLUMNS": "100000"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=around)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("script", "command"), SCRIPTS)
def test_scripts_are_the_commands(script, command, said_by_scripts, capsys, monkeypatch):
    """A script has the command's flags, and shows them without loading TensorFlow."""
    monkeypatch.setenv("COLUMNS", "100000")  # so that no word is broken
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    expected = capsys.readouterr().out
    script = ROOT / "scripts" / f"{script}.py"
    said = said_by_scripts[str(script)]
    assert words_of(said.split("\n\n", 1)[1]) == words_of(expected.split("\n\n", 1)[1])
    assert said.startswith(f"usage: {script.name} ")
    assert len(list(script.parent.glob("*.py"))) == len(COMMANDS) + len(VARIANTS)


def test_the_bilevel_script_asks_for_bilevel_training(inputs, tmp_path):
    """Told of no --data, it says what bilevel training lacks."""
    script = [sys.executable, str(ROOT / "scripts" / "train_bilevel.py")]
    flags = ["--img-list", str(inputs / "list.txt"), "--model-dir", str(tmp_path / "run")]
    done = subprocess.run([*script, *flags], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert "--bilevel: got no validation pairs" in done.stderr


def test_main_help_and_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    for command, words in COMMANDS.items():
        assert f"  {command:<12} {words}" in said
    assert main([]) == 0
    assert capsys.readouterr().out == said
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__
