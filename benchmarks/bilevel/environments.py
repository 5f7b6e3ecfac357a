"""Environments for the libraries that ours is compared with.

python -m benchmarks.bilevel.environments --out runs/peers
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "jax": ("jax", "jaxopt==0.8.5", "optuna", "scipy"),
    "torch": ("torch", "torchopt==0.7.3"),
}


def interpreter(folder: Path, name: str) -> Path:
    """The Python of an environment."""
    return folder / name / "bin" / "python"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="folder of the environments")
    folder = Path(parser.parse_args().out)
    for name, packages in PACKAGES.items():
        if not interpreter(folder, name).exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        pip = [str(interpreter(folder, name)), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *packages], check=True)


if __name__ == "__main__":
    main()
