"""Every example in a public docstring runs, and everything public has a docstring."""

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import bilevelmorph

pytestmark = pytest.mark.usefixtures("plain_graphs")
MODULES = sorted(m.name for m in pkgutil.walk_packages(bilevelmorph.__path__, "bilevelmorph."))
GLOBALS = {"tf": tf, "np": np, "Path": Path}


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs=GLOBALS, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_public_things_are_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    for key, thing in vars(module).items():
        own = getattr(thing, "__module__", None) == name
        if own and not key.startswith("_") and (inspect.isfunction(thing) or inspect.isclass(thing)):
            assert inspect.getdoc(thing), f"{name}.{key} has no docstring"


@pytest.mark.parametrize("name", MODULES)
def test_public_classes_show_themselves(name):
    for key, thing in vars(importlib.import_module(name)).items():
        if inspect.isclass(thing) and thing.__module__ == name and not key.startswith("_"):
            assert ">>>" in (thing.__doc__ or ""), f"{name}.{key} has no example"
