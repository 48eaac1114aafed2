"""Numbers of fewer bits: INT8 and FP16."""
