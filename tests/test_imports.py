"""Imports run downward, and the front door is light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bilevelmorph

ROOT = Path(__file__).resolve().parents[1]


def test_imports_run_downward():
    """The contracts of pyproject.toml, checked on every import that there is."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", bilevelmorph.__all__)
def test_the_front_door_opens(name):
    assert getattr(bilevelmorph, name) is not None


@pytest.mark.parametrize(
    "statement",
    [
        "import bilevelmorph",
        "from bilevelmorph.cli.main import main; main(['--version'])",
        "import bilevelmorph.config",
    ],
)
def test_no_tensorflow_until_it_is_used(statement):
    code = f"import sys; {statement}; assert not {{'tensorflow', 'keras', 'torch'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Registrer'"):
        _ = bilevelmorph.Registrer  # type: ignore[attr-defined]
