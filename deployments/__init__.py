"""Serves artifacts on Ray Serve by the Open Inference Protocol v2."""
