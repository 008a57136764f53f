"""Dubbing: an existing video says a new recording; only the mouth of each frame changes."""
