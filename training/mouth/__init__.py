"""Training of models that paint the mouth alone (``diffused_heads_core.mouth``)."""
