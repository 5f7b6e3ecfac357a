"""Names of methods, and what is read of their adapters."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bilevelmorph.benchmark.method import ADAPTERS, OURS, Method, bundled, constants
from bilevelmorph.errors import InputError


@pytest.mark.parametrize("name", bundled())
def test_bundled_adapters_are_complete(name):
    facts = constants(ADAPTERS / f"{name}.py")
    assert facts["PACKAGES"]
    assert facts["MODULES"]
    assert facts["doc"]
    assert Method.of(name).setting == next(iter(facts["SETTINGS"]))
    text = (ADAPTERS / f"{name}.py").read_text(encoding="utf-8")
    assert all(f"\ndef {function}(" in text for function in ("prepare", "register", "save"))


@pytest.mark.parametrize("text", ["general", "general:best", "none:fast", "hippocampus:balanced"])
def test_ours(text):
    method = Method.of(text)
    assert (method.adapter, method.setting, method.name) == (OURS, text, text)
    assert method.python(None) == Path(sys.executable)


def test_ones_own(users_method):
    method = Method.of(f"{users_method}:crash")
    assert (method.adapter, method.setting) == (users_method, "crash")
    assert Method.of(str(users_method)).setting == "shift"
    assert method.description == "A method of a user"
    assert Method.of(str(users_method)).description == "A method of a user; knows the answer"


def test_settings_of_ours_are_a_file(tmp_path):
    settings = tmp_path / "tuned.json"
    settings.write_text("{}", encoding="utf-8")
    assert Method.of(f"general:best:{settings}").setting == f"general:best:{settings}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("greedily", "greedily"),
        ("greedy:quick", "one of the settings default, slow"),
        ("general:good", "fast, balanced, best"),
        ("general:best:missing.json", "missing.json"),
        ("missing.py", "missing.py"),
        ("missing.py:slow", "missing.py"),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(InputError, match=message):
        Method.of(text)


def test_an_adapter_that_is_no_python(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def register(:", encoding="utf-8")
    with pytest.raises(InputError, match="Python file"):
        Method.of(str(path))


def test_an_environment_of_its_own_goes_first(tmp_path):
    own = tmp_path / "greedy" / "bin"
    own.mkdir(parents=True)
    (own / "python").symlink_to(sys.executable)
    assert Method.of("greedy").python(tmp_path) == own / "python"
    # Ours runs in this one, whatever lies there.
    (tmp_path / "bilevelmorph" / "bin").mkdir(parents=True)
    (tmp_path / "bilevelmorph" / "bin" / "python").symlink_to(sys.executable)
    assert Method.of("none:fast").python(tmp_path) == Path(sys.executable)


def test_what_is_missing_has_no_python(users_method, tmp_path):
    text = users_method.read_text(encoding="utf-8").replace('("nibabel",)', '("no_such_module",)')
    users_method.write_text(text, encoding="utf-8")
    assert Method.of(str(users_method)).python(tmp_path) is None
