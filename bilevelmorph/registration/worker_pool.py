"""Work shared out among processes of this machine."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from bilevelmorph.child_process import ChildProcess

# A request that ends its worker so many times is given up: it needs more memory than there is.
ATTEMPTS = 3
# A worker that has grown by so much since its first answer is renewed: TensorFlow keeps more than
# 100 MB of graphs for every size of images that instance optimisation meets.
GROWN_BYTES = 1 << 30


class WorkerPool:
    """Child processes that answer many requests, one each at a time.

    Args:
        count: Number of processes.
        make: See `ChildProcess`.
        arguments: Arguments of `make`.

    >>> from operator import itemgetter
    >>> pool = WorkerPool(2, itemgetter, 0)
    >>> sorted(pool.answers(["one", "two", "three"]))
    [('one', 'o', ''), ('three', 't', ''), ('two', 't', '')]
    """

    def __init__(self, count: int, make: Callable[..., Callable[[Any], Any]], *arguments: Any) -> None:
        self.count, self.make, self.arguments = count, make, arguments

    def answers(self, requests: Iterable[Any]) -> Iterator[tuple[Any, Any, str]]:
        """Yield each request with its answer, or None and the error, as they come.

        A worker that dies is replaced, and its request is tried again; one that has grown is renewed.
        """
        open_requests = deque((request, 1) for request in requests)
        busy: dict[Any, tuple[ChildProcess, Any, int]] = {}
        at_first: dict[int, int] = {}
        idle: list[ChildProcess] = []
        try:
            while open_requests or busy:
                while open_requests and len(busy) < self.count:
                    worker = idle.pop() if idle else ChildProcess(self.make, *self.arguments)
                    request, attempt = open_requests.popleft()
                    busy[worker.pipe] = (worker, request, attempt)
                    try:
                        worker.send(request)
                    except ChildProcessError:
                        continue  # noticed below, as the end of the pipe
                for pipe in wait(list(busy)):
                    worker, request, attempt = busy.pop(pipe)
                    try:
                        answer, error = worker.receive(), ""
                    except RuntimeError as failure:
                        answer, error = None, str(failure)
                    except ChildProcessError as death:
                        worker.close()
                        if attempt < ATTEMPTS:
                            open_requests.appendleft((request, attempt + 1))
                            continue
                        yield request, None, f"{death} ({attempt} times)"
                        continue
                    used = _resident_bytes(worker.pid)
                    if used - at_first.setdefault(worker.pid, used) > GROWN_BYTES:
                        del at_first[worker.pid]
                        worker.close()
                    else:
                        idle.append(worker)
                    yield request, answer, error
        finally:
            for worker in [*idle, *(worker for worker, *_ in busy.values())]:
                worker.close()


def _resident_bytes(process: int) -> int:
    """Memory of a process; 0 where that cannot be seen."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError, AttributeError):
        return 0
