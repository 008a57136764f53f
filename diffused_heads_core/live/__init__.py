"""``diffused-heads live``: a page on this machine whose portrait says what its user says, over WebRTC."""
