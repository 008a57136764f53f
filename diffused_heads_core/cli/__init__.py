"""The ``diffused-heads`` command: ``main`` runs a command line; each other module has a few commands and their options.

Only the standard library is imported with these modules. What a command needs is imported when it runs.
"""
