#!/usr/bin/env python
"""The same as `bilevelmorph search`."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("search", sys.argv[1:], "search.py"))
