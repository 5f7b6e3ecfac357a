"""The command line: one module per command, shared with `scripts/`."""
