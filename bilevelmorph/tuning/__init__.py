"""Tuning of instance optimisation to a set of pairs."""
