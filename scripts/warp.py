#!/usr/bin/env python
"""The same as `bilevelmorph warp`."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("warp", sys.argv[1:], "warp.py"))
