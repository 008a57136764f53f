"""Procedural talking avatars with exact ground truth: the corpus that the bundled model learns from."""
