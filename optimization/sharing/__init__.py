"""What others see of an artifact: a model card, and a place on a hub."""
