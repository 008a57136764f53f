"""Synthetic people: heads of the ICT Face Model Light with painted skin, eyes, hair and light, as talking clips."""
