"""Tools that a training run does not need: making, averaging and bundling models and audio encoders."""
