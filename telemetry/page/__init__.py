"""The page at /telemetry: static files without any network use, and the JSON behind them."""
