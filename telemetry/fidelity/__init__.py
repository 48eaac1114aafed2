"""Whether a model still answers as its teacher does, and as the labels that come later say."""
