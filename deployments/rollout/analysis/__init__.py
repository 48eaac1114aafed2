"""Whether a candidate is as good as the baseline, by what was seen of both in the same windows: pure functions."""
