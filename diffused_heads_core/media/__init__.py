"""Sound, pictures and video: files to arrays and back. Knows nothing of models or faces."""
