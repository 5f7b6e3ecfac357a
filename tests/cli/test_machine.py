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
from bilevelmorph.io.volumes import save_volume

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
