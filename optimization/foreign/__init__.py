"""Models of other frameworks become ONNX files."""
