"""Answers questions about what was recorded: PromQL in Prometheus' own shape, traces, logs."""
