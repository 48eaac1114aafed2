"""Raw input: text and encoded pictures become the model's tensors, in service and where an artifact is checked."""
