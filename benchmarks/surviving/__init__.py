"""What `benchmarks.reliability` measures: one module for each thing that is survived."""
