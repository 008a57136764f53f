"""Training: corpora, datasets and the trainer. Knows the core; the core does not know it."""
