"""Damaged files for every reader: each must be read, or be refused with one line.

`make fuzz` runs it for ten minutes. It counts what ends in anything but a result or an `InputError`,
takes more than a gigabyte, or more than twenty seconds, and keeps the files that do.

Run: python tests/fuzzing.py --minutes 10 --seed 0 --out fuzz-output
"""

from __future__ import annotations

import argparse
import functools
import gzip
import io
import json
import re
import resource
import shutil
import struct
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bilevelmorph.child_process import ChildProcess
from bilevelmorph.errors import InputError

MOST_SECONDS, MOST_BYTES = 20.0, 1 << 30
# What text is changed to: numbers of other kinds, quotes, nesting, bytes that are no text.
WORDS = (
    *("-1", "0", "1e999", "nan", "Infinity", "9" * 5000, "1e-400", "2147483648", "1.5", "true", "null"),
    *(
        '"',
        "'",
        "[" * 20000,
        '{"a":' * 5000,
        "",
        "\n",
        "\r",
        "\t",
        "\x00",
        "é",
        "\ud800",
        ",,,,",
        "x" * 140000,
        "../" * 9,
    ),
)
NUMBERS = (0, 1, -1, 2, 127, 255, 2**15, -(2**15), 2**31 - 1, -(2**31), 2**30, 1000, 7)
FLOATS = (float("nan"), float("inf"), 1e30, -1e30, 0.0, 1e-40, -1.0, 1e9)


def samples(folder: Path) -> list[Path]:
    """Write a small valid file of every kind that is read."""
    import nibabel as nib
    import SimpleITK
    from PIL import Image

    rng = np.random.default_rng(0)
    data = rng.random((6, 7, 5), np.float32)
    labels = (data > 0.5).astype(np.uint8)
    affine = np.diag([1.0, 2, 1.5, 1])
    for name in ("a.nii", "a.nii.gz"):
        nib.save(nib.Nifti1Image(data, affine), folder / name)
    nib.save(nib.Nifti2Image(labels, affine), folder / "two.nii")
    nib.save(nib.Nifti1Pair(data, affine), folder / "pair.img")
    nib.save(nib.Nifti1Image(rng.random((6, 7, 5, 4), np.float32), affine), folder / "series.nii.gz")
    for name in ("a.mgz", "a.mgh"):
        nib.save(nib.MGHImage(data, affine), folder / name)
    itk = SimpleITK.GetImageFromArray(data)
    for name in ("a.nrrd", "a.mha", "a.mhd", "a.tif"):
        SimpleITK.WriteImage(itk, str(folder / name))
    SimpleITK.WriteImage(SimpleITK.Cast(itk[:, :, 2] * 255, SimpleITK.sitkUInt16), str(folder / "a.dcm"))
    Image.fromarray((data[..., 0] * 255).astype(np.uint8)).save(folder / "a.png")
    Image.fromarray((data[..., 0] * 255).astype(np.uint8)).save(folder / "a.jpg")
    np.save(folder / "a.npy", data)
    np.savez(folder / "a.npz", vol=data, affine=affine)
    np.savez_compressed(folder / "warp.npz", warp=rng.random((6, 7, 5, 3), np.float32), affine=affine)
    field = rng.random((6, 7, 5, 1, 3), np.float32)
    image = nib.Nifti1Image(field, affine)
    image.header.set_intent("vector")
    nib.save(image, folder / "warp.nii.gz")
    transform = SimpleITK.AffineTransform(3)
    for name in ("affine.txt", "affine.tfm", "affine.mat", "affine.h5"):
        SimpleITK.WriteTransform(transform, str(folder / name))
    text = {
        "points.csv": "x,y,z,label\n1,2,3,1\n2.5,1,0,2\n",
        "voxels.csv": "1,2,3\n2.5,1,0\n",
        "points.txt": "1 2 3\n2.5 1 0\n",
        "points.fcsv": "# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n"
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
        "1,1.0,2.0,3.0,0,0,0,1,1,1,0,F-1,,\n",
        "points.mrk.json": json.dumps(
            {
                "@schema": "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#",
                "markups": [
                    {
                        "type": "Fiducial",
                        "coordinateSystem": "LPS",
                        "controlPoints": [{"id": "1", "label": "F-1", "position": [1.0, 2.0, 3.0]}],
                    }
                ],
            }
        ),
        "pairs.csv": "moving,fixed,moving_seg,fixed_seg\na.nii,b.nii,,\nb.nii,a.nii,,\n",
        "list.txt": "a.nii b.nii\n",
        "labels.txt": "1\n2\n3\n",
        "genotype.json": json.dumps(
            {
                "version": 2,
                "features": {"2": ["conv1"]},
                "deformation": {"2": ["conv3"]},
                "inputs": {"2": ["features", "cost"]},
                "filters": {"2": 4},
                "steps": {"2": 1},
            }
        ),
        "dataset.json": json.dumps(
            {
                "labels": {"0": "b", "1": "x"},
                "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
                "validation": ["imagesTr/b.nii.gz"],
                "registration_val": [{"moving": "imagesTr/a.nii.gz", "fixed": "imagesTr/b.nii.gz"}],
            }
        ),
        "run.json": json.dumps({"optimization": {"lr": 0.001}, "network": {"enc": [4, 4]}}),
        "run.yaml": "optimization:\n  lr: 1e-3\nnetwork:\n  enc: [4, 4]\n",
        "descent.json": json.dumps({"levels": [2, 1], "iterations": [3, 2], "similarity": ["ncc"]}),
        "weights.json": json.dumps({"similarity": 1.0, "regularity": 0.1}),
    }
    for name, content in text.items():
        (folder / name).write_text(content, encoding="utf-8")
    return sorted(p for p in folder.iterdir() if p.suffix != ".raw")


def read(path: Path) -> None:
    """Read a file in every way that a command would."""
    for way in _ways(path):
        try:
            way()
        except InputError as error:
            if "\n" in str(error):
                raise ValueError(f"several lines: {error}") from error


def _ways(path: Path) -> list[Callable[[], Any]]:
    from bilevelmorph.config import DescentConfig, TrainingConfig
    from bilevelmorph.datasets.pairs import read_csv, read_labels, read_list
    from bilevelmorph.io.itk import load_itk_affine
    from bilevelmorph.io.points import read_points
    from bilevelmorph.io.series import load_series
    from bilevelmorph.io.volumes import load_channels, load_volume
    from bilevelmorph.io.warps import load_warp

    name = path.name
    if name.startswith(("points", "voxels")):
        return [functools.partial(read_points, path, n) for n in (2, 3)]
    if name.startswith("pairs"):
        return [lambda: read_csv(path), lambda: read_list(path)]
    ways: dict[str, Callable[[], Any]] = {
        "affine": lambda: load_itk_affine(path),
        "warp": lambda: load_warp(path),
        "list": lambda: read_list(path),
        "labels": lambda: read_labels(path),
        "dataset": lambda: _read_dataset(path),
        "genotype": lambda: _read_genotype(path),
        "run": lambda: TrainingConfig.load(path),
        "descent": lambda: DescentConfig.load(path),
        "weights": lambda: _read_loss_weights(path),
        "series": lambda: load_series(path),
    }
    for start, way in ways.items():
        if name.startswith(start):
            return [way]
    return [lambda: load_volume(path), lambda: load_volume(path, "labels"), lambda: load_channels(path)]


def _read_dataset(path: Path) -> None:
    from bilevelmorph.datasets.decathlon import DecathlonDataset

    data = DecathlonDataset.open(path.parent)
    for split in ("train", "val", "test"):
        data.subjects(split)
        data.pairs(split)


def _read_genotype(path: Path) -> None:
    from bilevelmorph.networks.genotype import Genotype

    Genotype.load(path)


def _read_loss_weights(path: Path) -> None:
    from bilevelmorph.config import TrainingConfig
    from bilevelmorph.training.build import make_energy

    make_energy(TrainingConfig.of(loss_weights=str(path)))


def damaged(path: Path, rng: np.random.Generator) -> bytes:
    """The content of a file with something changed."""
    content = path.read_bytes()
    if path.suffix in (".csv", ".txt", ".json", ".yaml", ".fcsv", ".tfm", ".mhd"):
        return _text(content, rng)
    if path.suffix in (".gz", ".mgz") and rng.random() < 0.7:
        return gzip.compress(_binary(gzip.decompress(content), rng), 1)
    if path.suffix == ".npz" and rng.random() < 0.7:
        return _archive(content, rng)
    return _binary(content, rng)


def _binary(content: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        # Headers are at the beginning, and matter most.
        end = min(len(out), 400) if rng.random() < 0.7 else len(out)
        at = int(rng.integers(0, max(1, end)))
        kind = int(rng.integers(0, 8))
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            form = str(rng.choice(["<h", "<i", "<q", ">i", ">h"]))
            size, number = struct.calcsize(form), int(rng.choice(NUMBERS))
            number = (number + (1 << 8 * size - 1)) % (1 << 8 * size) - (1 << 8 * size - 1)
            out[at : at + size] = struct.pack(form, number)
        elif kind == 3:
            out[at : at + 4] = struct.pack(str(rng.choice(["<f", ">f"])), float(rng.choice(FLOATS)))
        elif kind == 4:
            out[at : at + 8] = struct.pack("<d", float(rng.choice(FLOATS)))
        elif kind == 5:
            out[at:at] = rng.bytes(int(rng.integers(1, 64)))
        elif kind == 6:
            out[at:at] = out[at : at + int(rng.integers(1, 200))]
        else:
            word = str(rng.choice(WORDS)).encode("utf-8", "surrogatepass")[:5000]
            out[at : at + len(word)] = word
    return bytes(out)


def _text(content: bytes, rng: np.random.Generator) -> bytes:
    text = content.decode("latin-1")
    for _ in range(int(rng.integers(1, 4))):
        kind = int(rng.integers(0, 5))
        tokens = list(re.finditer(r"[\w.+-]+|[^\w\s]", text))
        if not tokens or kind == 0:
            return _binary(text.encode("latin-1", "replace"), rng)
        token = tokens[int(rng.integers(0, len(tokens)))]
        word = str(rng.choice(WORDS)) if kind < 4 else text[token.start() :][:80]
        start = token.end() if kind == 3 else token.start()
        text = text[:start] + word + text[token.end() :]
    return text.encode("utf-8", "surrogatepass")


def _archive(content: bytes, rng: np.random.Generator) -> bytes:
    """A zip file of damaged members, or of other names."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            member = source.read(name)
            if rng.random() < 0.6:
                member = _binary(member, rng)
            other = str(rng.choice(["x.npy", "vol", "../vol.npy", "vol.npy", "affine.npy"]))
            target.writestr(other if rng.random() < 0.15 else name, member)
    return out.getvalue()


def reader() -> Callable[[str], tuple[str, int]]:
    """Make the function of the child process: what went wrong with a file, and the most bytes so far."""
    import faulthandler
    import logging
    import warnings

    faulthandler.enable()

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")

    def attempt(path: str) -> tuple[str, int]:
        try:
            read(Path(path))
            said = ""
        except Exception:
            said = traceback.format_exc(limit=-3)
        return said, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    return attempt


class Fuzzer:
    """Gives damaged files to a child process, which is renewed if it hangs, dies or grows.

    Args:
        folder: Folder for the samples and the file of the moment.
        seed: Seed of all damage.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.rng, self.folder = np.random.default_rng(seed), folder
        good = folder / "good"
        good.mkdir()
        self.samples = samples(good)
        self.counts: Counter[str] = Counter()
        self._child: ChildProcess | None = None
        self._bytes = 0

    def check_samples(self) -> None:
        """The samples themselves are read."""
        for path in self.samples:
            read(path)

    def one(self) -> tuple[str, Path]:
        """Try one file; returns what went wrong, or an empty text, and the file."""
        sample = self.samples[int(self.rng.integers(0, len(self.samples)))]
        path = self.folder / sample.name
        path.write_bytes(damaged(sample, self.rng))
        for beside in (".raw", ".hdr", ".zraw"):  # what a .mhd or .img refers to
            if (other := sample.with_suffix(beside)).is_file() and other != sample:
                shutil.copy(other, self.folder)
        said = self._attempt(path)
        self.counts[said.strip().splitlines()[-1][:120] if said else "ok"] += 1
        return said, path

    def _attempt(self, path: Path) -> str:
        if self._child is None:
            self._child = ChildProcess(reader)
            self._child.send(str(self.samples[0]))
            self._bytes = self._child.receive()[1]
        try:
            self._child.send(str(path))
            if not self._child.pipe.poll(MOST_SECONDS):
                self.close()
                return f"more than {MOST_SECONDS:g} s"
            said, most = self._child.receive()
        except ChildProcessError:
            self.close()
            return "the process died"
        grown, self._bytes = most - self._bytes, most
        if grown > MOST_BYTES:
            self.close()
            return f"{grown / 2**30:.1f} GB"
        return said

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.close()
            self._child = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--count", type=int, default=0, help="number of files instead of a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=Path("fuzz-output"), help="where files that do harm are kept"
    )
    options = parser.parse_args()
    until, bad = time.monotonic() + 60 * options.minutes, 0
    with tempfile.TemporaryDirectory() as temporary:
        fuzzer = Fuzzer(Path(temporary), options.seed)
        fuzzer.check_samples()
        while options.count > fuzzer.counts.total() if options.count else time.monotonic() < until:
            said, path = fuzzer.one()
            if said:
                options.out.mkdir(parents=True, exist_ok=True)
                kept = options.out / f"{zlib.crc32(path.read_bytes()):08x}-{path.name}"
                shutil.copy(path, kept)
                kept.with_name(kept.name + ".log").write_text(said, encoding="utf-8", errors="replace")
                bad += 1
        fuzzer.close()
    print(f"{fuzzer.counts.total()} files, {bad} with trouble (seed {options.seed})")
    for message, count in fuzzer.counts.most_common(40):
        print(f"{count:7d}  {message}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
