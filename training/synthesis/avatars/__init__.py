"""Drawn avatars: 2D shapes on a 3D head, with exact landmarks.

``avatar`` chooses the appearance, ``draw`` paints, ``face``, ``mouth``, ``hair`` (from ``hair_shapes``), ``beard``,
``wear`` and ``backdrop`` are the parts, ``render`` puts them together.
"""
