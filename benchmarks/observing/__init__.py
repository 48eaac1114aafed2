"""The figures of telemetry, one module for each thing that is measured."""
