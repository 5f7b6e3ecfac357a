#!/usr/bin/env python
"""The same as `bilevelmorph warp-points`."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("warp-points", sys.argv[1:], "warp_points.py"))
