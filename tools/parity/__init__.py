"""Compares networks with recorded outputs of official code; a file per family says how its cases are read."""
