"""Programs start without what they do not use; what XLA compiles is shared, and gone afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, os, sys
from bilevelmorph.devices import choose_gpu, shared_compilations

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
