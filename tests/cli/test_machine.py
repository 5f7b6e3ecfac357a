"""The machine leaves no trace in the answer."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from bilevelmorph.data.volume import Volume
from bilevelmorph.io.volumes import load_volume, save_volume

PROGRAM = """
from bilevelmorph.cli.main import run
run("models", ["general"], "models")
import keras
print(keras.config.backend(), keras.config.floatx(), keras.config.image_data_format())
"""


@pytest.mark.parametrize("backend", [None, "torch"])
def test_settings_of_keras_do_not_reach_the_commands(tmp_path, backend):
    """Neither those in the user's home nor those in the environment; nothing is written there."""
    (tmp_path / ".keras").mkdir()
    settings = {"image_data_format": "channels_first", "floatx": "float16", "backend": "torch"}
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps(settings), encoding="utf-8")
    environment = {**os.environ, "HOME": str(tmp_path)} | ({"KERAS_BACKEND": backend} if backend else {})
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.splitlines()[-1] == "tensorflow float32 channels_last"
    assert json.loads((tmp_path / ".keras" / "keras.json").read_text(encoding="utf-8")) == settings


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o007])
def test_what_is_written_keeps_the_mask_of_the_user(tmp_path, mask):
    before = os.umask(mask)
    try:
        save_volume(tmp_path / "a.nii.gz", Volume(np.eye(3, dtype=np.float32), np.eye(4)))
        (tmp_path / "b").touch()
    finally:
        os.umask(before)
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.nii.gz", "b")}
    assert modes == {0o666 & ~mask}


def registered(folder, environment):
    """The files of a registration with names that are not ASCII, by a process in this environment."""
    noise = np.random.default_rng(0).random((2, 24, 20)).astype(np.float32)
    for name, data in zip(("b\u00e9b\u00e9", "\u03b2"), noise, strict=True):
        save_volume(folder / f"{name}.nii.gz", Volume(data, np.eye(4)))
    there = {**os.environ, **environment}
    command = [sys.executable, "-m", "bilevelmorph.cli.main", "register", "--model", "none"]
    command += ["--warp-format", "itk", "--moving", "b\u00e9b\u00e9.nii.gz", "--fixed", "\u03b2.nii.gz"]
    command += ["--out", "\u00f6ut", "--report", "l\u00f6\u00f6k.html", "--instance-steps", "0"]
    command += ["--gpu", "-1"]
    kept = {key: value for key, value in there.items() if value is not None}
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert "b\u00e9b\u00e9" in (folder / "l\u00f6\u00f6k.html").read_text(encoding="utf-8")
    return {name: (folder / "\u00f6ut" / name).read_bytes() for name in ("warp.nii.gz", "figure.png")}


@pytest.fixture(scope="module")
def registered_here(tmp_path_factory):
    return registered(tmp_path_factory.mktemp("here"), {})


@pytest.mark.parametrize(
    "around",
    [
        {"HOME": None},
        {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"},
        {"HOME": "/proc", "TMPDIR": None},
        {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C", "LANG": None, "PYTHONIOENCODING": "latin-1"},
    ],
    ids=["no home", "home that is not there", "home that cannot be written", "ascii", "latin-1"],
)
def test_a_registration_wherever_it_runs(registered_here, tmp_path, around):
    """The files are the same to the bit, with names that are not ASCII, and a figure is drawn."""
    assert registered(tmp_path, around) == registered_here


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_without_standard_streams(tmp_path, closed):
    """As daemons start programs: nothing is written into a file that got the number of a stream."""
    noise = np.random.default_rng(0).random((2, 24, 20)).astype(np.float32)
    for name, data in zip("ab", noise, strict=True):
        save_volume(tmp_path / f"{name}.nii.gz", Volume(data, np.eye(4)))
    line = f"'{sys.executable}' -m bilevelmorph.cli.main register --model none --instance-steps 2 --gpu -1"
    line += f" --moving a.nii.gz --fixed b.nii.gz --moved m.nii.gz {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0
    assert load_volume(tmp_path / "m.nii.gz").shape == (24, 20)
