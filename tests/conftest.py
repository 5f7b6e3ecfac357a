"""Shared fixtures; the environment is set before anything imports TensorFlow."""

from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import pytest
from scans import write_scans

from bilevelmorph.compilation_cache import shared_compilations

# The processes of the suite, and those that its tests start, compile the same things.
if "PYTEST_XDIST_WORKER" not in os.environ:
    whole_run = ExitStack()
    whole_run.enter_context(shared_compilations())
    atexit.register(whole_run.close)

# What trains, traces large graphs, or starts processes. It is marked, so that `make check` leaves it
# out, and begins first, so that no process of the suite is left with it at the end.
SLOW = (
    "test_docs.py",
    "test_docstrings.py",
    "test_plugins.py",
    "training",
    "autoreg",
    "networks",
    "test_batch.py",
    "test_voxelmorph_scripts.py",
    "test_network_2018.py",
    "test_export.py",
    "test_instance_optimizer.py",
    "test_affine.py",
    "test_uncertainty.py",
    "test_compilation_cache.py",
    "test_methods.py",
    "test_matching.py",
    "test_import_hook.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(part in item.path.parts for part in SLOW):
            item.add_marker("slow")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every test."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the repository."""
    root = Path(__file__).resolve().parents[1]
    folder = root.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/data beside the repository is absent")
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small labelled scans, with a dataset.json and a list."""
    folder = tmp_path_factory.mktemp("scans")
    write_scans(folder)
    return folder


@pytest.fixture(scope="module")
def plain_graphs() -> Iterator[None]:
    """Small graphs that run once each: without XLA, here and in child processes, much sooner."""
    from bilevelmorph.devices import using_xla

    patch = pytest.MonkeyPatch()
    patch.setenv("BILEVELMORPH_XLA", "off")
    with using_xla("off"):
        yield
    patch.undo()


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Without graphs: to trace them would take most of the time of a run of some steps."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Even though the `tf.config.experimental_run_functions_eagerly`")
        yield
    tf.config.run_functions_eagerly(False)
