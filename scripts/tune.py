#!/usr/bin/env python
"""The same as `bilevelmorph tune`."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("tune", sys.argv[1:], "tune.py"))
