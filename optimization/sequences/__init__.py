"""Sequence-level distillation: a student learns the texts its teacher writes (Kim & Rush 2016, arXiv:1606.07947)."""
