"""The method: noise schedules, network, samplers, generator, audio and media. Knows nothing of ComfyUI or training."""
