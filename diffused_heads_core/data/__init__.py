"""Datasets on disk, read by training and evaluation: shards of annotated clips, and joining several datasets to one."""
