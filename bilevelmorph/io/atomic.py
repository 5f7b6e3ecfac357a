"""Atomic writing: files appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import replace
from pathlib import Path

from bilevelmorph.errors import fail
from bilevelmorph.temporary import remove_abandoned, temporary_prefix


def suffix(path: str | Path) -> str:
    """The extension of a file name in lower case, with ``.nii.gz`` as a single one.

    >>> suffix("a/b.nii.gz")
    '.nii.gz'
    """
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


@contextmanager
def atomic_path(path: str | Path) -> Iterator[str]:
    """Yield a temporary path next to `path`, which replaces `path` if the block succeeds.

    Raises:
        InputError: The folder does not exist or cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise fail(str(path), f"no folder {path.parent}", "an existing folder", "make it first")
    if path.is_dir():
        raise fail(str(path), "a folder", "a file's name")
    remove_abandoned(path.parent.absolute())
    try:
        handle, temporary = tempfile.mkstemp(
            suffix=suffix(path), prefix=temporary_prefix(".writing"), dir=path.parent
        )
    except OSError as error:
        raise fail(str(path), error.strerror or "an error", "a folder that can be written") from error
    os.close(handle)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_mask())
        replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _mask() -> int:
    """The user's file mask: images of patients may be meant for nobody else."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
