"""ONNX graphs: made of torch models, simplified, read."""
