"""The files that the paper's authors released: read without running them, and turned into checkpoints."""
