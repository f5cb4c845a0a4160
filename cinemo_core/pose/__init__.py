"""Figures as key points: read from what pose detectors give, fitted to another figure's proportions, drawn as poses are."""
