#!/usr/bin/env python
"""The same as `bilevelmorph export`."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("export", sys.argv[1:], "export.py"))
