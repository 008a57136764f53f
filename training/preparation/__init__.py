"""Raw videos to a dataset: what ``training/prepare.py`` is made of."""
