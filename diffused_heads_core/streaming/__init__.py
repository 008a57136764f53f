"""Frames that leave while sound comes in: see ``TalkingStream``."""
