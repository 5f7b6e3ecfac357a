"""Searches compile many small graphs once each; without XLA that takes a fraction of the time."""

from __future__ import annotations

import pytest

from bilevelmorph.ops import xla


@pytest.fixture(autouse=True, scope="package")
def plain_graphs():
    """Here and in the processes that a search starts."""
    patch = pytest.MonkeyPatch()
    patch.setenv("BILEVELMORPH_XLA", "off")
    with xla.using("off"):
        yield
    patch.undo()
