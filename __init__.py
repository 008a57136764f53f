"""Diffused Heads: a portrait and a voice in, a talking head out."""
