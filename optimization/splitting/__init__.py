"""Tables of embeddings leave a model's graph, so that they may be larger than a process: their rows become inputs."""
