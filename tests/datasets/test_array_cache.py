"""A bounded part of memory for arrays that are costly to make."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from bilevelmorph.datasets.array_cache import ArrayCache


@pytest.fixture
def made():
    return []


def getter(cache, made):
    def get(key):
        def make():
            made.append(key)
            return np.full(10, float(key))  # 80 bytes

        return cache.get(key, make)

    return get


def test_everything_is_made_once_and_memory_is_bounded(made):
    cache = ArrayCache(limit=250)
    get = getter(cache, made)
    for key in [*range(8), *reversed(range(8)), 3]:
        assert (get(key) == key).all()
        assert sum(a.nbytes for a in cache._memory.values()) <= 250
    assert made == list(range(8))
    assert len(cache) == 8


def test_what_fits_never_touches_the_disk(made):
    cache = ArrayCache(limit=800)
    get = getter(cache, made)
    for key in range(10):
        get(key)
    assert cache._folder is None


def test_one_array_may_be_larger_than_the_limit(made):
    get = getter(ArrayCache(limit=10), made)
    assert (get(1) == 1).all()
    assert (get(2) == 2).all()
    assert (get(1) == 1).all()
    assert made == [1, 2]


def test_a_full_disk_only_costs_time(made, monkeypatch):
    cache = ArrayCache(limit=100)
    get = getter(cache, made)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert [float(get(key)[0]) for key in (1, 2, 1, 2)] == [1, 2, 1, 2]
    assert made == [1, 2, 1, 2]


def test_the_folder_goes_with_the_cache(made):
    cache = ArrayCache(limit=100)
    get = getter(cache, made)
    get(1), get(2)
    folder = cache._folder
    assert folder.is_dir()
    del cache, get
    gc.collect()
    assert not folder.exists()
