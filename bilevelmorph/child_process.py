"""A process that works for this one, connected by a pipe and not by the network."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class ChildProcess:
    """Answers requests one after the other in a process of its own.

    The two are connected by an anonymous pipe: no port is opened, and no other user can send
    requests. The child ends with its parent, even if that is killed.

    Args:
        make: Called once in the child with `arguments`; returns the function that answers
            requests. It is given by reference, so it must be importable.
        arguments: Arguments of `make`.

    >>> from operator import itemgetter
    >>> child = ChildProcess(itemgetter, 1)  # answers with the second element
    >>> child.send("abc")
    >>> child.receive()
    'b'
    >>> child.close()
    """

    def __init__(self, make: Callable[..., Callable[[Any], Any]], *arguments: Any) -> None:
        # TensorFlow does not work in a forked process.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_answer, args=(theirs, make, arguments), daemon=True)
        with _without_interruption():
            self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Number of the process."""
        assert self._process.pid is not None  # it was started
        return self._process.pid

    def send(self, request: Any) -> None:
        """Send a request; its answer must be received before the next one is sent.

        Raises:
            ChildProcessError: The child has died.
        """
        try:
            self.pipe.send(request)
        except OSError as error:
            raise ChildProcessError("the process has died") from error

    def receive(self) -> Any:
        """Wait for the answer. `pipe` is ready for `multiprocessing.connection.wait` when it is there.

        Raises:
            RuntimeError: The function raised an error, which is quoted.
            ChildProcessError: The child died, possibly for lack of memory.
        """
        try:
            failed, answer = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise ChildProcessError("the process has died, possibly for lack of memory") from error
        if failed:
            raise RuntimeError(answer)
        return answer

    def close(self) -> None:
        """End the child, whatever it is doing; what it was writing stays, see `remove_abandoned`."""
        self.pipe.close()
        self._process.kill()  # killed, because TensorFlow is slow to exit
        self._process.join()


@contextmanager
def _without_interruption() -> Iterator[None]:
    """Delay interrupts until the block has ended: half a start would leave a child that prints errors."""
    caught: list[int] = []
    try:
        before = {n: signal.signal(n, lambda n, _: caught.append(n)) for n in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # only the main thread is interrupted
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if caught:
            signal.raise_signal(caught[0])


def _answer(pipe: Any, make: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """Answer requests until the parent closes the pipe or ends."""
    # An interrupt from the keyboard reaches all processes of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    function: Any = None
    while True:
        try:
            request = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            function = function or make(*arguments)
            answer = (False, function(request))
        except Exception as error:
            answer = (True, f"{type(error).__name__}: {error}")
        try:
            pipe.send(answer)
        except OSError:
            return
