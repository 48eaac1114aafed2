"""What `benchmarks.distribution` measures: one module for each way to spread work."""
