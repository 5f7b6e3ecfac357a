"""The doorway to VoxelMorph 0.2, each time in a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASKED = ("VXM_BACKEND", "NEURITE_BACKEND", "TF_USE_LEGACY_KERAS", "KERAS_BACKEND")
NAMES = """
import importlib, json, sys
modules = ["tensorflow.keras.losses", "keras.losses", "inspect"]
print(json.dumps({m: sorted(dir(importlib.import_module(m))) for m in modules}))
"""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds the package of this repository."""
    clean = {k: v for k, v in os.environ.items() if k not in ASKED}
    path = os.pathsep.join(filter(None, [environment.pop("FIRST", ""), clean.get("PYTHONPATH"), str(ROOT)]))
    return subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", code],
        env={**clean, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def printed(code: str, **environment: str) -> str:
    """What code prints; it must succeed."""
    result = python(code, **environment)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout.strip()


def refusal(**environment: str) -> str:
    """The message of the ImportError of `require`."""
    code = (
        "import bilevelmorph.compat.voxelmorph.import_hook\n"
        "try:\n    bilevelmorph.compat.voxelmorph.import_hook.require()\n"
        "except ImportError as error:\n    print(error)\n"
    )
    return printed(code, **environment)


@pytest.fixture(scope="module")
def untouched() -> dict[str, list[str]]:
    """Names in modules that the doorway mends for a while, without it."""
    return json.loads(printed(NAMES).splitlines()[-1])


def fake_release(folder: Path, name: str, version: str) -> str:
    """A site folder whose metadata say that a package is installed in a version."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return str(folder)


def test_import_is_light():
    code = (
        "import sys, bilevelmorph\nprint([m for m in ('tensorflow', 'keras', 'numpy') if m in sys.modules])"
    )
    assert printed(code) == "[]"


@pytest.mark.parametrize(
    "imports",
    [
        "import bilevelmorph; import voxelmorph; import neurite",
        "import bilevelmorph; import neurite; import voxelmorph",
        "import keras; import bilevelmorph; import voxelmorph; import neurite",
        "from bilevelmorph.compat.voxelmorph import require; require(); import voxelmorph; import neurite",
    ],
)
def test_both_packages_import_and_nothing_stays_repaired(imports, untouched):
    """Whatever the order; and the layers are registered then."""
    code = (
        f"{imports}\n"
        "assert voxelmorph.__version__ == neurite.__version__ == '0.2'\n"
        "assert voxelmorph.layers.SpatialTransformer and neurite.layers\n"
        "import keras\n"
        "assert keras.saving.get_registered_object('bilevelmorph>VecInt') is not None\n"
        "import inspect\n"
        "assert not hasattr(inspect, 'getargspec')\n"
    )
    names = json.loads(printed(code + NAMES).splitlines()[-1])
    assert names == untouched


def test_classes_are_registered_with_keras():
    names = ["SpatialTransformer", "VecInt", "PropagationNetwork", "LocalNCC", "MSE"]
    code = (
        "import bilevelmorph, sys, json\n"
        "assert 'tensorflow' not in sys.modules\n"
        "import keras\n"
        f"found = [keras.saving.get_registered_object('bilevelmorph>' + n) for n in {names}]\n"
        "print(json.dumps([c and c.__name__ for c in found]))"
    )
    assert json.loads(printed(code).splitlines()[-1]) == names


@pytest.mark.parametrize("name", ["voxelmorph", "neurite"])
def test_pytorch_release_is_named_and_the_remedy_given(tmp_path, name):
    message = refusal(FIRST=fake_release(tmp_path, name, "0.3"))
    assert f"{name} 0.3" in message
    assert "pip install voxelmorph==0.2 neurite==0.2" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "environment",
    [
        {"VXM_BACKEND": "pytorch"},
        {"NEURITE_BACKEND": "pytorch"},
        {"TF_USE_LEGACY_KERAS": "1"},
        {"TF_USE_LEGACY_KERAS": "True"},
    ],
)
def test_environment_that_asks_for_another_backend_is_refused(environment):
    message = refusal(**environment)
    assert next(iter(environment)) in message
    assert "unset" in message
    assert "\n" not in message


def test_missing_package_is_named_and_the_remedy_given():
    """With the standard library alone on the path, nothing is installed."""
    code = (
        "import sys\n"
        "sys.path = [p for p in sys.path if 'site-packages' not in p]\n"
        "import bilevelmorph.compat.voxelmorph.import_hook\n"
        "try:\n    bilevelmorph.compat.voxelmorph.import_hook.require()\n"
        "except ImportError as error:\n    print(error)\n"
    )
    message = printed(code)
    assert "is not installed" in message
    assert "pip install voxelmorph==0.2 neurite==0.2" in message
