#!/usr/bin/env python
"""The same as `bilevelmorph train --dice-weight 0.01`, VoxelMorph's default."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("train", ["--dice-weight", "0.01", *sys.argv[1:]], "train_semisupervised_seg.py"))
