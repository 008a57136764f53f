"""Commands that are used once per model: pretraining and refining of the audio encoder, averaging, bundling."""
