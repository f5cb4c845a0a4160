"""Animate Anyone (arXiv 2311.17117): a person's picture moved by a clip of poses, after its open re-implementation."""
