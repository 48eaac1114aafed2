"""The Open Inference Protocol's gRPC messages. `make stubs` writes the modules from `inference.proto`."""
