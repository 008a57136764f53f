"""Drawn avatars: random people, drawn as 2D polygons over a 3D head, with exact landmarks."""
