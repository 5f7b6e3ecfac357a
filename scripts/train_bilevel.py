#!/usr/bin/env python
"""The same as `bilevelmorph train --bilevel`."""

import sys

from bilevelmorph.cli.main import run

if __name__ == "__main__":
    sys.exit(run("train", ["--bilevel", *sys.argv[1:]], "train_bilevel.py"))
