#!/usr/bin/env python
"""The same as `bilevelmorph register`."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("register", sys.argv[1:], "register.py"))
