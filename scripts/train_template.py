#!/usr/bin/env python
"""The same as `bilevelmorph template`."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("template", sys.argv[1:], "train_template.py"))
