"""The process in which a method runs."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from bilevelmorph.temporary import make_temporary_folder

WORKER = Path(__file__).with_name("worker.py")


class MethodProcess:
    """Runs registrations of one method, with the Python of its environment.

    Whatever the method does, crash, hang or answer nonsense, ends as a `RuntimeError` here; the next
    request then starts a new process.

    Args:
        python: The Python of the environment.
        adapter: File of the adapter, see `bilevelmorph.benchmark.adapters`.
        threads: Number of threads that the method may use.
        limit: Seconds after which a registration is given up.

    >>> import sys
    >>> from bilevelmorph.benchmark.method import ADAPTERS
    >>> process = MethodProcess(Path(sys.executable), ADAPTERS / "identity.py", 1, 60)
    >>> try:
    ...     process.register(fixed="none.nii", moving="none.nii", affine=True, setting="", out="moved")
    ... except RuntimeError as error:
    ...     print(str(error).split(":")[0])
    FileNotFoundError
    >>> process.close()
    """

    def __init__(self, python: Path, adapter: Path, threads: int, limit: float) -> None:
        self.python, self.adapter, self.threads, self.limit = python, adapter, threads, limit
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._errors: IO[bytes] | None = None
        self._folder = Path()

    def register(self, **case: Any) -> dict[str, Any]:
        """Register a pair.

        Args:
            case: ``fixed``, ``moving``, ``affine``, ``setting``, ``out`` and, for methods that are trained,
                ``model``; see the adapters.

        Returns:
            ``seconds``, ``memory_mb`` and ``versions``.

        Raises:
            RuntimeError: The registration failed; the message is one line.
        """
        return self._answer(case, self.limit)

    def train(self, **job: Any) -> None:
        """Train the method; it is given up after three times the time that it should take.

        Args:
            job: ``images``, ``weight``, ``seconds``, ``setting``, ``seed`` and ``out``, see the adapters.

        Raises:
            RuntimeError: The training failed; the message is one line.
        """
        self._answer({**job, "train": True}, 3 * job["seconds"] + self.limit)

    def _answer(self, request: dict[str, Any], limit: float) -> dict[str, Any]:
        process = self._process or self._start()
        assert process.stdin is not None  # it was asked for
        with suppress(OSError):  # it has ended; said below
            process.stdin.write(json.dumps({**request, "threads": self.threads}) + "\n")
            process.stdin.flush()
        try:
            line = self._answers.get(timeout=limit)
        except queue.Empty:
            self.close()
            raise RuntimeError(f"gave no result within {limit:.0f} s") from None
        if not line:
            raise RuntimeError(self._end())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process and the programs that it started."""
        if self._process is None:
            return
        if os.name == "posix":
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with suppress(OSError):  # what could not be sent any more
                    stream.close()
        self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    def _start(self) -> subprocess.Popen[str]:
        # Nothing of this process's own setting: the methods import what their environments hold.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONHOME"}
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
            environment[name] = str(self.threads)
        environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        # Some methods leave files where they run.
        self._folder = make_temporary_folder()
        self._process = subprocess.Popen(
            [str(self.python), str(WORKER), str(self.adapter)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env=environment,
            cwd=self._folder,
            start_new_session=True,
        )
        self._answers = queue.Queue()
        threading.Thread(target=_read, args=(self._process.stdout, self._answers), daemon=True).start()
        return self._process

    def _end(self) -> str:
        """Why the process ended."""
        assert self._process is not None  # it was asked
        assert self._errors is not None
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"ended with {how}{': ' + ' '.join(said[-1].split())[:200] if said else ''}"


def _read(stream: IO[str], answers: queue.Queue[str]) -> None:
    """Pass on each line, and an empty one at the end."""
    with suppress(OSError, ValueError):  # closed
        for line in stream:
            answers.put(line)
    answers.put("")
