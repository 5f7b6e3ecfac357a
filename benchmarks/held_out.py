"""A data set with some of its training subjects moved to validation, for searches where these are few.

Images and label maps are linked, not copied; test subjects are left out.
Run: python benchmarks/held_out.py --data DIR --out DIR [--subjects 4] [--pairs 20]
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

from bilevelmorph.volumes.tables import read_json, write_json


def held_out(table: dict[str, Any], subjects: int, pairs: int, seed: int) -> dict[str, Any]:
    """The same `dataset.json` with another split; its subjects must be listed by name."""
    draw = random.Random(seed)
    held = draw.sample(sorted(table["training"]), subjects)
    validation = [*table["validation"], *sorted(held)]
    ordered = [(a, b) for a in validation for b in validation if a != b]
    draw.shuffle(ordered)
    image = "imagesTr/{}.nii.gz"
    return table | {
        "training": [name for name in table["training"] if name not in held],
        "validation": validation,
        "test": [],
        "registration_val": [
            {"moving": image.format(a), "fixed": image.format(b)} for a, b in ordered[:pairs]
        ],
        "registration_test": [],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with a dataset.json")
    parser.add_argument("--out", required=True, help="folder to be made")
    parser.add_argument("--subjects", type=int, default=4, help="to be moved")
    parser.add_argument("--pairs", type=int, default=20, help="of validation, out of all between them")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    root, out = Path(options.data).resolve(), Path(options.out)
    table = dict(read_json(root / "dataset.json", "a dataset"))
    out.mkdir(parents=True)
    for part in ("imagesTr", "labelsTr"):
        (out / part).symlink_to(root / part, target_is_directory=True)
    made = held_out(table, options.subjects, options.pairs, options.seed)
    write_json(out / "dataset.json", made)
    print(
        f"{out}: {len(made['training'])} training subjects, {len(made['registration_val'])} validation pairs"
    )


if __name__ == "__main__":
    main()
