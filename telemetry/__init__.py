"""Watches: OTLP in and out, series, detectors, alerts and a page."""
