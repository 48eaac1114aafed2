"""What is watched of each service, and what becomes an alert."""
