"""Programs that XLA has compiled, kept from one command to the next."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bilevelmorph.temporary import remove_abandoned, temporary_folder, temporary_prefix

FOLDER = "BILEVELMORPH_CACHE"
_FLAG = "--tf_xla_persistent_cache_directory"
# The largest number of programs that are kept, about 40 MB, and the free space without which none is.
MOST, SPACE = 600, 500_000_000


@contextmanager
def shared_compilations() -> Iterator[None]:
    """Share XLA's compilation cache between this process, its child processes and later commands.

    Enter the block before TensorFlow is imported, because TensorFlow reads the flags only
    once. In the block the cache is a temporary folder, so that what a killed process or a full
    disk leaves is never read. It is filled from the user's cache, of programs for this processor
    and TensorFlow, and new ones go there at the end. The environment variable `BILEVELMORPH_CACHE`
    names another folder for them; if it is empty, nothing is kept. A folder already set in
    `TF_XLA_FLAGS` is used instead of all this.
    """
    before = os.environ.get("TF_XLA_FLAGS", "")
    if _FLAG in before:
        yield
        return
    store = _store()
    with temporary_folder(parent=store) as folder:
        if shutil.disk_usage(folder).free < SPACE:
            yield
            return
        _fill(folder, store)
        os.environ["TF_XLA_FLAGS"] = f"{before} {_FLAG}={folder}".strip()
        try:
            yield
        finally:
            os.environ["TF_XLA_FLAGS"] = before
            with suppress(OSError):  # a cache that cannot be written is none
                _keep(folder, store)


def _store() -> Path | None:
    """The folder of programs for this processor, if it is the user's alone."""
    parent = os.environ.get(FOLDER)
    if parent == "":
        return None
    if parent is None:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        parent = os.path.join(home, "bilevelmorph", "xla")
    store = Path(parent, _kind_of_machine())
    try:
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = store.stat()
    except OSError:
        return None
    # What others could write is not run.
    mine = os.name != "posix" or facts.st_uid == os.geteuid()
    return store if mine and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None


def _kind_of_machine() -> str:
    """What a compiled program depends on: TensorFlow, and the instructions of the processor."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        release = version("tensorflow")
    except PackageNotFoundError:
        release = "cpu"
    told = [platform.machine(), platform.processor()]
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told += sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return f"{release}-{hashlib.sha256(repr(told).encode()).hexdigest()[:16]}"


def _fill(folder: Path, store: Path | None) -> None:
    """Link the programs whose contents still have their checksum."""
    for path in store.glob("*.pb.*") if store else ():
        name, _, checksum = path.name.rpartition(".")
        with suppress(OSError):
            if _checksum(path.read_bytes()) == checksum:
                os.link(path, folder / name)
            else:
                path.unlink()


def _keep(folder: Path, store: Path | None) -> None:
    """Add the programs of the folder to the store, and remove those that were made longest ago."""
    if store is None:
        return
    remove_abandoned(store)
    there = {path.name.rpartition(".")[0] for path in store.glob("*.pb.*")}
    for path in folder.glob("*.pb"):
        if path.name not in there:
            content = path.read_bytes()
            writing = store / f"{temporary_prefix('.writing')}{path.name}"
            writing.write_bytes(content)
            os.replace(writing, store / f"{path.name}.{_checksum(content)}")
    dated = []
    for path in store.glob("*.pb.*"):
        with suppress(OSError):
            dated.append((path.stat().st_mtime, path))
    for _, path in sorted(dated)[:-MOST]:
        path.unlink(missing_ok=True)


def _checksum(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"
