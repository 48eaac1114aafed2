"""OTLP over gRPC and HTTP, and what a request of it says."""
