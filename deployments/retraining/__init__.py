"""The loop closed: an alert about a model's data or quality leads to a new version that is proven, and rolled out."""
