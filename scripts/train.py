#!/usr/bin/env python
"""The same as `bilevelmorph train`."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("train", sys.argv[1:], "train.py"))
