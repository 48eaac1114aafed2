"""What `python -m deployments` can do, one module a verb."""
