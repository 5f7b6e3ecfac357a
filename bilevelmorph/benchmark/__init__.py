"""Comparison of registration methods, ours and those of others, on the same pairs."""
