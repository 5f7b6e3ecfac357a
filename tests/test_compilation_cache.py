"""Programs start without what they do not use; what XLA compiles is shared, and gone afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bilevelmorph import compilation_cache
from bilevelmorph.compilation_cache import shared_compilations

CODE = """
import json, os, sys
from bilevelmorph.compilation_cache import shared_compilations
from bilevelmorph.devices import choose_gpu

def compile_one():
    choose_gpu("-1")
    import tensorflow as tf
    return float(tf.function(lambda x: 2 * x + 1, jit_compile=True)(tf.ones([8]))[0])

with shared_compilations():
    flags = os.environ["TF_XLA_FLAGS"]
    folder = flags.split("=")[-1]
    value = compile_one()
    kept = len(os.listdir(folder))
unused = [name for name in ("jax", "matplotlib", "pandas", "sklearn") if name in sys.modules]
import keras, matplotlib.pyplot
print(json.dumps([value, kept, os.path.isdir(folder), flags, os.environ["TF_XLA_FLAGS"], unused]))
"""


@pytest.mark.parametrize("own", [False, True])
def test_compilations_are_kept_for_the_block_or_where_the_user_says(tmp_path, own):
    mine = f"--tf_xla_persistent_cache_directory={tmp_path}" if own else "--tf_xla_auto_jit=0"
    said = subprocess.run(
        [sys.executable, "-c", CODE],
        env=os.environ | {"TF_XLA_FLAGS": mine},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    value, kept, there, flags, after, unused = json.loads(said.splitlines()[-1])
    assert value == 3
    assert unused == []
    assert kept > 0
    assert there is own
    assert flags.startswith(mine)
    assert after == mine


KEPT = """
import os, sys
from pathlib import Path
from bilevelmorph.compilation_cache import shared_compilations
from bilevelmorph.devices import choose_gpu

with shared_compilations():
    folder = Path(os.environ["TF_XLA_FLAGS"].split("=")[-1])
    before = len(list(folder.glob("*.pb")))
    choose_gpu("-1")
    import tensorflow as tf
    value = float(tf.function(lambda x: 2 * x + 1, jit_compile=True)(tf.ones([8]))[0])
    print(before, len(list(folder.glob("*.pb"))), value)
"""


def test_compilations_are_kept_for_the_next_command_if_whole(tmp_path):
    store = tmp_path / "store"
    env = {k: v for k, v in os.environ.items() if k != "TF_XLA_FLAGS"}

    def run(folder=store):
        said = subprocess.run(
            [sys.executable, "-c", KEPT],
            env=env | {"BILEVELMORPH_CACHE": str(folder) if folder else ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return [float(word) for word in said.splitlines()[-1].split()]

    assert run() == [0, 1, 3]
    assert run() == [1, 1, 3]
    (kept,) = store.rglob("*.pb.*")
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    kept.write_bytes(kept.read_bytes()[:-100])  # as a crash of the machine may leave it
    assert run() == [0, 1, 3]
    (again,) = store.rglob("*.pb.*")
    assert again.stem == kept.stem
    assert list(again.parent.iterdir()) == [again]
    again.parent.chmod(0o770)  # others could have written it
    assert run() == [0, 1, 3]
    assert run(None) == [0, 1, 3]
    file = tmp_path / "file"
    file.touch()
    assert run(file) == [0, 1, 3]


def test_only_the_newest_compilations_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "MOST", 2)
    monkeypatch.setenv("BILEVELMORPH_CACHE", str(tmp_path))
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    for name in "abc":
        with shared_compilations():
            folder = Path(os.environ["TF_XLA_FLAGS"].split("=")[-1])
            (folder / f"{name}.pb").write_text(name)
        (entry,) = tmp_path.rglob(f"{name}.pb.*")
        os.utime(entry, (ord(name), ord(name)))
    assert sorted(path.name[0] for path in tmp_path.rglob("*.pb.*")) == ["b", "c"]
