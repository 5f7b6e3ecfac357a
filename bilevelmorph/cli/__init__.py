"""The command line: one module a command, shared with `scripts/`."""
