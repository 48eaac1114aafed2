"""Models and functions, each a stage, called as one model."""
