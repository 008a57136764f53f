"""Raw videos to datasets.

For each video: ``decode`` (pictures) → ``tracks`` (faces) and ``media.shots`` (cuts) → ``segments`` (stretches for one
crop) → ``clips`` (with ``sound``, ``quality``, and ``annotations`` from ``head_pose``) → ``video`` → ``results``. Then,
for all of them: ``identities`` (people and split) → ``packing`` (shards) → ``report``. ``prepare`` is the entry and the
command line, with its ``settings``; ``engine`` distributes the work.
"""
