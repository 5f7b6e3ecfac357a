#!/usr/bin/env python
"""The same as `bilevelmorph evaluate`, under VoxelMorph's name."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("evaluate", sys.argv[1:], "test.py"))
