#!/usr/bin/env python
"""The same as `bilevelmorph fetch`."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("fetch", sys.argv[1:], "fetch.py"))
