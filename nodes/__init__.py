"""ComfyUI nodes over the core."""
