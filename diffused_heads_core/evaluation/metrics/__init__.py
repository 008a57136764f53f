"""The formulas, each on arrays alone, and the list of all figures (``names``)."""
