"""Datasets on disk: shards of clips with exact annotations, and joining several to one. Read by training and
evaluation.
"""
