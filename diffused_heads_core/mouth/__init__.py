"""The mouth, in two steps: its shape follows from the sound, and a network paints it into the portrait's own pixels."""
