"""Dashboards for Grafana and alerts for Prometheus, as files."""
