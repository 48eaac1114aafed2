"""Recommenders whose tables lie on shards: workers look rows up and push gradients within a bounded delay."""
