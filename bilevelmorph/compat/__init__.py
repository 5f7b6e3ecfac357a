"""Bridges to other software and to earlier versions."""
