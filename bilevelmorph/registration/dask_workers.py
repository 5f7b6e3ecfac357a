"""The workers of a running Dask scheduler."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from bilevelmorph.errors import fail
from bilevelmorph.registration.batch_worker import register_job

# Pairs submitted per worker, one running and one waiting, so that the rest takes no memory.
WAITING = 2
ANSWER_SECONDS = 20


class DaskWorkers:
    """Registers pairs on the workers of a running Dask scheduler.

    Whoever can connect to a scheduler can run code on its workers, so use one only within a trusted
    network, or with ``tls://`` addresses; certificates come from Dask's own configuration
    (``distributed.comm.tls``), which holds for this client as well.

    Args:
        scheduler: Address, such as ``tls://host:8786``.
        settings: Settings of the batch.

    >>> DaskWorkers("tls://node1:8786", {"model": "general"}).scheduler
    'tls://node1:8786'
    """

    def __init__(self, scheduler: str, settings: dict[str, Any]) -> None:
        self.scheduler, self.settings = scheduler, settings

    def __enter__(self) -> DaskWorkers:
        """Connect.

        Raises:
            InputError: Dask is not installed, or the scheduler does not answer or has no workers.
        """
        try:
            from distributed import Client
        except ImportError as error:
            fix = "pip install 'bilevelmorph[batch]'"
            raise fail("scheduler", "no installation of Dask", "dask and distributed", fix) from error
        try:
            self.client = Client(self.scheduler, timeout=ANSWER_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            came, fix = (
                f"no answer from {self.scheduler}",
                "for tls:// set distributed.comm.tls in Dask's configuration",
            )
            raise fail("scheduler", came, "the address of a Dask scheduler", fix) from error
        self.count = len(self.client.scheduler_info(n_workers=-1)["workers"])
        if not self.count:
            self.client.close()
            raise fail("scheduler", f"{self.scheduler} without workers", "at least one worker")
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()

    def answers(self, jobs: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str | None, str]]:
        """Yield every job as it finishes, with what `register_job` returned, or None and the error."""
        from distributed import as_completed

        # A running scheduler may hold tasks of the same names from another batch.
        left, of, token = iter(jobs), {}, uuid.uuid4().hex

        def submit() -> Any:
            job = next(left, None)
            if job is None:
                return None
            future = self.client.submit(register_job, self.settings, job, key=f"{token}-{job['name']}")
            of[future.key] = job
            return future

        first = [f for f in (submit() for _ in range(WAITING * self.count)) if f is not None]
        running = as_completed(first, loop=self.client.loop)
        for future in running:
            job = of.pop(future.key)
            if future.status == "finished":
                yield job, future.result(), ""
            else:
                error = future.exception()
                yield job, None, f"{type(error).__name__}: {error}"
            following = submit()
            if following is not None:
                running.add(following)
