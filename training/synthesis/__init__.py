"""Synthetic talking heads with exact ground truth: the corpora that the bundled models are trained on.

``text`` and ``voices`` → ``speech`` (espeak-ng) or ``flite``: sound with timed phonemes. ``visemes`` turns phonemes
into mouth shapes, ``motion`` adds gaze, blinks, brows and head pose; both fill the ``expression``. ``avatars`` and
``people`` render it with its ``truth``, and ``corpus`` writes the dataset. ``examples`` makes the bundled portraits and
recordings.
"""
