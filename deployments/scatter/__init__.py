"""One large request over several replicas of its model."""
