"""Imports run downward; the front door is light, and says the types of what it leads to."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import nibabel
import pytest
import SimpleITK

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


def public_signatures():
    """Every function and method that the front door leads to, with its types."""
    for name in bilevelmorph.__all__:
        thing = getattr(bilevelmorph, name)
        if inspect.isfunction(thing):
            yield pytest.param(thing, id=name)
        elif inspect.isclass(thing):
            for key, method in inspect.getmembers(thing, inspect.isroutine):
                ours = (getattr(method, "__module__", None) or "").startswith("bilevelmorph")
                if ours and (not key.startswith("_") or key in ("__init__", "__call__")):
                    yield pytest.param(method, id=f"{name}.{key}")


def holds_any(hint):
    return hint is Any or any(holds_any(part) for part in get_args(hint))


@pytest.mark.parametrize("function", public_signatures())
def test_public_types_are_said(function):
    names = {  # which modules import for the type checker alone
        "SimpleITK": SimpleITK,
        "sitk": SimpleITK,
        "nib": nibabel,
        "RegistrationNetwork": bilevelmorph.networks.RegistrationNetwork,
        "SpatialHeader": nibabel.spatialimages.SpatialHeader,
    }
    hints = get_type_hints(function, localns=names)
    for parameter in [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]:
        assert parameter in hints, f"{parameter} has no type"
        assert not holds_any(hints[parameter]), f"{parameter}: {hints[parameter]}"
    if function.__name__ != "__init__":
        assert not holds_any(hints["return"])
