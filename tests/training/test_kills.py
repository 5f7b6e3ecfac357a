"""Runs that end at any of their writes and are resumed leave the same files as one that nothing disturbed."""

from __future__ import annotations

import os
import subprocess
import sys

import killing
import pytest
from killing import BILEVEL, content, count_writes, run_template, run_training

from bilevelmorph.io import atomic


class Killed(BaseException):
    """Ends a run where no handler of ordinary errors sees it."""


def killed():
    raise Killed


@pytest.fixture(scope="module", params=["train", "template"])
def run(request, scans):
    """Start or resume a run in a folder."""

    def go(folder, resume=False):
        if request.param == "train":
            run_training(BILEVEL, scans, folder, resume)
        else:
            run_template(scans, folder, resume)

    return go


@pytest.mark.usefixtures("eagerly")
def test_at_every_write(run, tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "replace", counting := count_writes(os.replace, killed, -1, False))
    names = counting.names
    run(tmp_path / "whole")
    expected = content(tmp_path / "whole")
    assert len(set(names)) > 4
    for at in range(1, len(names)):
        folder = tmp_path / str(at)
        with monkeypatch.context() as patched:
            patched.setattr(atomic, "replace", count_writes(os.replace, killed, at, after=bool(at % 2)))
            with pytest.raises(Killed):
                run(folder)
        run(folder, resume=True)
        assert content(folder) == expected, f"ended at write {at} of {names}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_by_a_signal_that_nobody_handles():
    """Some of the writes of a training and of a search; the same program tries all, of all commands."""
    command = [sys.executable, killing.__file__, "train:4", "search:20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train: 8 writes, 2 deaths, 0 wrong" in done.stdout
    assert "search: 46 writes, 3 deaths, 0 wrong" in done.stdout
