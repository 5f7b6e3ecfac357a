#!/usr/bin/env python
"""The same as `bilevelmorph models`."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("models", sys.argv[1:], "models.py"))
