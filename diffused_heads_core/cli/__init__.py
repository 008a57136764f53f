"""The ``diffused-heads`` command: ``main`` parses, one module for each group of sub-commands."""
