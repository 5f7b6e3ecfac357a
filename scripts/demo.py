#!/usr/bin/env python
"""The same as `bilevelmorph demo`."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("demo", sys.argv[1:], "demo.py"))
