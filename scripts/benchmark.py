#!/usr/bin/env python
"""The same as `bilevelmorph benchmark`."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("benchmark", sys.argv[1:], "benchmark.py"))
