"""Environments of their own for the methods of others, whose packages do not agree with one another."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

from bilevelmorph.benchmark.method import Method, constants
from bilevelmorph.errors import fail


def make_environment(method: Method, environments: Path) -> Path:
    """Make a virtual environment in which a method is installed.

    Args:
        method: The method; its adapter says which packages it needs.
        environments: Folder of all environments.

    Returns:
        The folder of this one, which is named after the adapter.

    Raises:
        InputError: The packages cannot be installed.
    """
    folder = environments / method.adapter.stem
    venv.EnvBuilder(with_pip=True, clear=True).create(folder)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    for packages in constants(method.adapter).get("PACKAGES", ()):
        line = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *packages.split(),
        ]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise fail("install", method.name, "a method that pip can install", reason)
    return folder
