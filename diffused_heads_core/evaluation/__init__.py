"""Measuring talking heads: sources of frames, meters over them, totals, and the report."""
