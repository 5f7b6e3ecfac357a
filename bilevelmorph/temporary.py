"""Names of temporary files and folders that say whose they are, so that abandoned ones can be removed."""

from __future__ import annotations

import functools
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KINDS = (".writing", ".fetching", "bilevelmorph")
# After this long, what another machine left on a shared disk is abandoned too.
ABANDONED_SECONDS = 7 * 24 * 3600.0


def temporary_prefix(kind: str) -> str:
    """The first part of a temporary name: what it is for, the machine, and the process.

    Args:
        kind: ``".writing"``, ``".fetching"`` or ``"bilevelmorph"``.

    >>> temporary_prefix(".writing").endswith(f"-{os.getpid()}-")
    True
    """
    return f"{kind}-{_machine()}-{os.getpid()}-"


@contextmanager
def temporary_folder(kind: str = "bilevelmorph", parent: str | Path | None = None) -> Iterator[Path]:
    """A folder that nobody else can read, removed when the block ends.

    Args:
        kind: See `temporary_prefix`.
        parent: Where to make it; the system's temporary folder if None.

    >>> with temporary_folder() as folder:
    ...     _ = (folder / "part.npy").write_bytes(b"...")
    >>> folder.exists()
    False
    """
    folder = make_temporary_folder(kind, parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_temporary_folder(kind: str = "bilevelmorph", parent: str | Path | None = None) -> Path:
    """As `temporary_folder`; the caller removes it.

    >>> folder = make_temporary_folder()
    >>> folder.stat().st_mode & 0o777 == 0o700
    True
    >>> folder.rmdir()
    """
    parent = Path(parent or tempfile.gettempdir())
    remove_abandoned(parent)
    return Path(tempfile.mkdtemp(prefix=temporary_prefix(kind), dir=parent))


@functools.lru_cache(maxsize=256)
def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left in a folder; a process looks into each folder only once.

    Left alone is what belongs to a running process, and what another machine wrote within the
    last week. Files that cannot be removed are left too.

    >>> with temporary_folder() as folder:
    ...     left = folder / f".writing-{_machine()}-999999999-a.nii"  # there is no such process
    ...     left.touch()
    ...     remove_abandoned(folder)
    ...     left.exists()
    False
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name.startswith(KINDS) and _is_abandoned(folder / name):
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()


def remove_abandoned_below(folder: Path) -> None:
    """As `remove_abandoned`, in a folder and all below it, after processes were killed that wrote there."""
    for path in list(folder.rglob("*")):
        if path.name.startswith(KINDS) and path.is_file() and _is_abandoned(path):
            path.unlink(missing_ok=True)


def _is_abandoned(path: Path) -> bool:
    for kind in KINDS:
        found = re.fullmatch(rf"{re.escape(kind)}-(\w+)-(\d+)-.*", path.name, re.DOTALL)
        if found and found[1] == _machine():
            return not _runs(int(found[2]))
        if found:
            with suppress(OSError):
                return time.time() - path.lstat().st_mtime > ABANDONED_SECONDS
    return False


def _runs(process: int) -> bool:
    """Whether there is such a process; True where that cannot be asked safely."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


@functools.lru_cache(maxsize=1)
def _machine() -> str:
    return re.sub(r"\W", "_", socket.gethostname())[:40] or "_"
