"""Faces in pictures: finding them, landmarks, where the model's square frame lies, and pasting heads back."""
