"""What computes the network: PyTorch, or on a CPU a faster runtime for ONNX graphs if one is installed."""
