"""Training of the motion prior, which samples what a head does while it speaks."""
