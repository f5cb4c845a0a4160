"""Fetches the published checkpoint when a person asks for it: `python -m cinemo_core.download`. Nothing else calls it."""
