"""The time that a search has used, over all its runs."""

from __future__ import annotations

import time
from pathlib import Path

from bilevelmorph.io.json import read_json, write_json


class TimeBudget:
    """Seconds used by each part of a search, kept in a file so that a resumed run continues the count.

    Args:
        path: File of the clock; the time recorded there counts as used.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "clock.json"
    >>> clock = TimeBudget(path)
    >>> clock.begin("gradient")
    >>> clock.save()
    >>> 0 <= TimeBudget(path).used("gradient") < 1
    True
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        there = read_json(self.path, "seconds by name") if self.path.is_file() else {}
        self._used: dict[str, float] = {str(k): float(v) for k, v in there.items()}
        self._running: tuple[str, float] | None = None

    def begin(self, part: str) -> None:
        """Start counting time for this part."""
        self.save()
        self._running = (part, time.monotonic())

    def used(self, part: str) -> float:
        """Seconds used by a part so far."""
        name, since = self._running or ("", 0.0)
        return self._used.get(part, 0.0) + (time.monotonic() - since if name == part else 0.0)

    @property
    def total(self) -> float:
        """Seconds used by all parts so far."""
        running = {self._running[0]} if self._running else set()
        return sum(self.used(part) for part in {*self._used, *running})

    def save(self) -> None:
        """Write the time used so far to the file."""
        if self._running:
            part = self._running[0]
            self._used[part] = self.used(part)
            self._running = (part, time.monotonic())
            write_json(self.path, {k: round(v, 3) for k, v in self._used.items()})
