"""Cross-contrast copy of a data set: the intensities of fixed images are remapped non-monotonically.

The second contrast is simulated: every image is normalised, and one curve that rises and
falls maps its grey values, so that bright tissue may become dark and different tissues may
look alike. Label maps do not change. Moving images keep their contrast in training,
validation and test.
Run: python benchmarks/contrast.py --data DIR --out DIR
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np

from bilevelmorph.data.preprocessing import normalise
from bilevelmorph.datasets.decathlon import DecathlonDataset
from bilevelmorph.datasets.pairs import Pair, Subject
from bilevelmorph.io.json import read_json, write_json
from bilevelmorph.io.volumes import load_volume, save_volume

# Grey values before and after the remapping; the background does not change.
BEFORE, AFTER = (0.0, 0.2, 0.45, 0.7, 1.0), (0.0, 0.75, 0.3, 1.0, 0.5)
# Number of fixed images paired with every training scan.
PARTNERS = 8


def remapped(data: np.ndarray) -> np.ndarray:
    """The second contrast of an image, in [0, 1]."""
    return np.interp(normalise(data), BEFORE, AFTER).astype(np.float32)


def name_of(subject: Subject) -> str:
    return subject.name.replace(".nii", "_remapped.nii")


def entry(pair: Pair) -> dict[str, str]:
    return {"moving": f"./imagesTr/{pair.moving.name}", "fixed": f"./imagesTr/{name_of(pair.fixed)}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with a dataset.json")
    parser.add_argument("--out", required=True, help="folder to create")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder, out = DecathlonDataset.open(options.data), Path(options.out)
    for part in ("imagesTr", "labelsTr"):
        (out / part).mkdir(parents=True)
    training = folder.subjects("train")
    pairs = {split: folder.pairs(split) for split in ("val", "test")}
    everyone = dict.fromkeys(
        [*training, *(s for listed in pairs.values() for p in listed for s in (p.moving, p.fixed))]
    )
    for subject in everyone:
        volume = load_volume(subject.image)
        shutil.copy(subject.image, out / "imagesTr" / subject.name)
        save_volume(out / "imagesTr" / name_of(subject), volume.with_data(remapped(volume.data)))
        if subject.labels is not None:
            for name in (subject.name, name_of(subject)):
                shutil.copy(subject.labels, out / "labelsTr" / name)
    random = np.random.default_rng(options.seed)
    drawn = []
    for moving in training:
        others = [s for s in training if s != moving]
        chosen = random.choice(len(others), min(PARTNERS, len(others)), replace=False)
        drawn += [Pair(moving, others[k]) for k in chosen]
    table = read_json(folder.root / "dataset.json", "a dataset")
    kept = {k: v for k, v in table.items() if k in ("labels", "licence", "license")}
    listed = {f"registration_{split}": [entry(p) for p in found] for split, found in pairs.items()}
    write_json(
        out / "dataset.json",
        kept
        | {
            "name": f"{folder.name}, fixed images remapped (simulated)",
            "training": [f"./imagesTr/{s.name}" for s in training],
            "registration_train": [entry(p) for p in drawn],
            **listed,
        },
    )
    print(f"{out}: {len(everyone)} scans, {len(drawn)} training pairs")


if __name__ == "__main__":
    main()
