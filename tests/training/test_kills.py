"""Runs that end at any of their writes and are resumed leave the same files as one that nothing disturbed."""

from __future__ import annotations

import csv
import os
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf
from scans import TINY

from bilevelmorph.config import TemplateConfig, TrainingConfig
from bilevelmorph.io import atomic
from bilevelmorph.training.run import train
from bilevelmorph.training.template import make_template

# `train` that finds a better network in the second epoch, and tunes its loss weights; a template.
SHARED = {**TINY, "image_loss": "mse", "epochs": 2, "steps_per_epoch": 2, "lr": 1e-2, "seed": 3}
BILEVEL = {**SHARED, "val_pairs": 1, "bilevel": True, "bilevel_warmup": 0, "outer_every": 1}


class Killed(BaseException):
    """Ends a run where no handler of ordinary errors sees it."""


def count_writes(monkeypatch, at=-1, after=False):
    """Count files as they get their names; end the run before or after one of them."""
    names = []

    def replace(temporary, path):
        number = len(names)
        names.append(path.name)
        if number == at and not after:
            raise Killed
        atomic_replace(temporary, path)
        if number == at:
            raise Killed

    atomic_replace = os.replace
    monkeypatch.setattr(atomic, "replace", replace)
    return names


def content(folder):
    """What the files of a run say, without times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as stream:
                found[name] = arrays(stream)
        elif path.suffix == ".npz":
            with np.load(path) as state:
                found[name] = {k: state[k].tobytes() for k in state.files}
        elif path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
            found[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
        elif "tfevents" in name:
            found.setdefault("events", []).extend(events(path))
        elif path.is_file() and name != "config.json":
            found[name] = path.read_bytes()
    return found | {"events": sorted(found["events"])}


def arrays(stream):
    with h5py.File(stream) as file:
        found = {}
        file.visititems(lambda k, v: found.__setitem__(k, v[()].tobytes()) if hasattr(v, "dtype") else None)
    return found


def events(path):
    from tensorflow.core.util.event_pb2 import Event

    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        event = Event.FromString(record)
        for value in event.summary.value:
            if value.tag != "seconds":
                yield event.step, value.tag, value.tensor.SerializeToString()


@pytest.fixture(scope="module", params=["train", "template"])
def run(request, scans):
    """Start or resume a run in a folder."""
    if request.param == "train":

        def go(folder, resume=False):
            train(
                TrainingConfig.of(data=str(scans), **BILEVEL, model_dir=str(folder), resume=resume),
                quiet=True,
            )

    else:

        def go(folder, resume=False):
            listed = {"img_list": str(scans / "list.txt"), "model_dir": str(folder), "resume": resume}
            make_template(TemplateConfig.of(**SHARED, **listed), quiet=True)

    return go


@pytest.mark.usefixtures("eagerly")
def test_at_every_write(run, tmp_path, monkeypatch):
    names = count_writes(monkeypatch)
    run(tmp_path / "whole")
    expected = content(tmp_path / "whole")
    assert len(set(names)) > 4
    for at in range(1, len(names)):
        folder = tmp_path / str(at)
        with monkeypatch.context() as patched:
            count_writes(patched, at, after=bool(at % 2))
            with pytest.raises(Killed):
                run(folder)
        run(folder, resume=True)
        assert content(folder) == expected, f"ended at write {at} of {names}"
