"""Each application that `serve_config.yaml` may name: its class, and what builds it."""
