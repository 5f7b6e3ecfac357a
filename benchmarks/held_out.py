"""Copy of a data set with some training scans moved to validation, for searches with few of these.

Images and label maps are linked, not copied; there is no test split.
Run: python benchmarks/held_out.py --data DIR --out DIR [--subjects 4] [--pairs 20]
"""

from __future__ import annotations

import argparse
import random
from itertools import permutations
from pathlib import Path

from bilevelmorph.datasets.decathlon import DecathlonDataset
from bilevelmorph.io.json import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with a dataset.json")
    parser.add_argument("--out", required=True, help="folder to create")
    parser.add_argument("--subjects", type=int, default=4, help="number of scans to move")
    parser.add_argument(
        "--pairs", type=int, default=20, help="number of validation pairs, drawn from all possible ones"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder, out = DecathlonDataset.open(Path(options.data).resolve()), Path(options.out)
    training, validation = (
        [s.image.relative_to(folder.root).as_posix() for s in folder.subjects(split)]
        for split in ("train", "val")
    )
    draw = random.Random(options.seed)
    held = sorted(draw.sample(sorted(training), options.subjects))
    validation += held
    pairs = list(permutations(validation, 2))
    draw.shuffle(pairs)
    table = {
        **{k: v for k, v in folder.content.items() if not k.startswith("registration_")},
        "training": [name for name in training if name not in held],
        "validation": validation,
        "test": [],
        "registration_val": [{"moving": a, "fixed": b} for a, b in pairs[: options.pairs]],
    }
    out.mkdir(parents=True)
    for part in folder.root.iterdir():
        if part.is_dir():
            (out / part.name).symlink_to(part, target_is_directory=True)
    write_json(out / "dataset.json", table)
    print(
        f"{out}: {len(table['training'])} training scans, {len(table['registration_val'])} validation pairs"
    )


if __name__ == "__main__":
    main()
