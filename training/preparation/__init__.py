"""Raw videos to a dataset: what ``training/preparation/prepare.py`` is made of."""
