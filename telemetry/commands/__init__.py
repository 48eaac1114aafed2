"""What `python -m telemetry` can do, one module a command: its `add_arguments(parser)` and `run(options) -> int`."""
