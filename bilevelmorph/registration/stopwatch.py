"""Where the time of a registration goes."""

from __future__ import annotations

import time


class Stopwatch:
    """Adds up the seconds of the parts of a work.

    >>> watch = Stopwatch()
    >>> watch.lap("reading"), watch.lap("writing"), watch.lap("reading")
    (None, None, None)
    >>> list(watch.parts), sum(watch.parts.values()) < 1
    (['reading', 'writing'], True)
    """

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """Count the time since the last lap to a part."""
        now = time.perf_counter()
        self.parts[part] = self.parts.get(part, 0.0) + now - self._last
        self._last = now
