"""Tables of embeddings that are larger than a process: rows on shards, two copies of each, changed while they serve."""
