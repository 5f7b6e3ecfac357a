#!/usr/bin/env python
"""The same as `bilevelmorph instance`."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("instance", sys.argv[1:], "train_instance.py"))
