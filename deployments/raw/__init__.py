"""Raw input: text and encoded pictures become the model's tensors, beside the model."""
