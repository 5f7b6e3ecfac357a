"""Child processes answer, quote errors, and end when they should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from bilevelmorph.child_process import ChildProcess
from bilevelmorph.registration.worker_pool import ATTEMPTS, WorkerPool


def worker(scale):
    """Multiplies; ends its process for numbers below zero, as a lack of memory would."""

    def answer(number):
        if number < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return scale / number

    return answer


def test_answers_and_errors():
    child = ChildProcess(worker, 6)
    try:
        for number in (1, 2, 3):
            child.send(number)
            assert child.receive() == 6 / number
        child.send(0)
        with pytest.raises(RuntimeError, match="ZeroDivisionError: "):
            child.receive()
        child.send(6)
        assert child.receive() == 1
    finally:
        child.close()


def test_a_death_is_told():
    child = ChildProcess(worker, 1)
    child.send(-1)
    with pytest.raises(ChildProcessError):
        child.receive()
    child.close()


def test_a_pool_goes_on_after_deaths():
    found = {
        request: (answer, error) for request, answer, error in WorkerPool(2, worker, 6).answers([1, -1, 0, 3])
    }
    assert found[1] == (6, "")
    assert found[3] == (2, "")
    assert found[0][1].startswith("ZeroDivisionError")
    assert f"{ATTEMPTS} times" in found[-1][1]
    left = [child.cmdline() for child in psutil.Process().children()]
    assert [line for line in left if "spawn_main" in " ".join(line)] == []


def growing(_):
    """Keeps what it was asked for, in megabytes, and answers with its process."""
    kept = []

    def answer(megabytes):
        kept.append(b"x" * (megabytes << 20))
        return os.getpid()

    return answer


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")
def test_a_pool_renews_what_has_grown(monkeypatch):
    monkeypatch.setattr("bilevelmorph.registration.worker_pool.GROWN_BYTES", 30 << 20)
    first, second, third, fourth = (pid for _, pid, _ in WorkerPool(1, growing, 0).answers([50, 20, 20, 1]))
    assert first == second == third != fourth


def test_a_child_ends_with_its_parent_even_if_that_is_killed():
    code = (
        "import time\nfrom operator import itemgetter\nfrom bilevelmorph.child_process import ChildProcess\n"
    )
    code += (
        "child = ChildProcess(itemgetter, 0)\nchild.send('a')\nchild.receive()\nprint('ready', flush=True)\n"
    )
    code += "time.sleep(60)\n"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        children = psutil.Process(process.pid).children()
        assert len(children) >= 1
        process.kill()
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_what_killed_processes_left_is_removed(tmp_path):
    from bilevelmorph.io.atomic import atomic_path
    from bilevelmorph.temporary import _machine, temporary_prefix

    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    ours = _machine()
    old = time.time() - 8 * 24 * 3600
    gone = [f".writing-{ours}-{ended.pid}-a.nii.gz", ".writing-other-1-b.nii"]
    kept = [f"{temporary_prefix('.writing')}c.nii", ".writing-another-1-d.nii", ".writing.txt", "mine.nii"]
    for name in (*gone, *kept):
        (tmp_path / name).touch()
    os.utime(tmp_path / gone[1], (old, old))
    (tmp_path / f".fetching-{ours}-{ended.pid}-x" / "set").mkdir(parents=True)
    with atomic_path(tmp_path / "out.txt"):
        pass
    assert {p.name for p in tmp_path.iterdir()} == {*kept, "out.txt"}
