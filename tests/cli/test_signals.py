"""Commands that are ended from outside say so in one line and leave neither processes nor temporary files."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from bilevelmorph.cli.main import Terminated, main
from bilevelmorph.data.volume import Volume
from bilevelmorph.io.volumes import save_volume
from bilevelmorph.temporary import KINDS

COMMAND = [sys.executable, "-m", "bilevelmorph.cli.main"]
SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


@pytest.fixture
def listed(tmp_path, rng):
    """A list of pairs that takes some time."""
    lines = ["moving,fixed"]
    for i in range(6):
        save_volume(tmp_path / f"{i}.nii.gz", Volume(rng.random((40, 40, 40), np.float32), np.eye(4)))
        lines += [f"{tmp_path}/{i}.nii.gz,{tmp_path}/{j}.nii.gz" for j in range(i)]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(tmp_path / "list.csv")


@pytest.fixture(autouse=True)
def interruptible():
    """As on a terminal: a process that is started in the background ignores SIGINT, and so do its own."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def begun(process, condition):
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("moment", ["imports", "workers", "writes"])
def test_a_cohort_ended_by_a_signal(listed, tmp_path, number, moment):
    """The parent alone gets the signal, as from a batch system; its workers end with it."""
    out = tmp_path / "out"
    flags = ["register", "--pairs", listed, "--out", str(out), "--workers", "2", "--quiet", "--gpu", "-1"]
    flags += ["--quality", "fast"]  # until the first pair is written, most of the time is compilation
    process = subprocess.Popen([*COMMAND, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    parent = psutil.Process(process.pid)
    if moment == "imports":
        begun(process, lambda: any("/scipy/" in part.path for part in parent.memory_maps()))
    elif moment == "workers":
        begun(process, parent.children)
    else:
        begun(process, lambda: (out / "pairs").is_dir() and any((out / "pairs").iterdir()))
    children = parent.children(recursive=True)
    process.send_signal(number)
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, said) == (128 + number, "")
    assert errors == f"bilevelmorph register: {SIGNALS[number]}\n"
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert [p for p in tmp_path.rglob("*") if p.name.startswith(KINDS)] == []


def test_an_output_that_nobody_reads(tmp_path):
    """As `bilevelmorph models | head -0`: quietly."""
    with subprocess.Popen([*COMMAND, "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130), (Terminated, 143)])
@pytest.mark.parametrize("wrapped", [False, True])
def test_interrupts_that_python_wraps(monkeypatch, capsys, error, status, wrapped):
    """As it does with those that come while it builds a class."""

    def interrupted(*_):
        if wrapped:
            raise RuntimeError("Error calling __set_name__") from error()
        raise error

    monkeypatch.setattr("bilevelmorph.cli.main.run", interrupted)
    assert main(["models"]) == status
    assert capsys.readouterr().err.count("\n") == 1


def test_other_errors_are_not_taken_for_interrupts(monkeypatch):
    def broken(*_):
        raise RuntimeError("a fault") from ValueError()

    monkeypatch.setattr("bilevelmorph.cli.main.run", broken)
    with pytest.raises(RuntimeError, match="a fault"):
        main(["models"])
