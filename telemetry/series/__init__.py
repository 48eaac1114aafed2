"""What was received, in bounded memory: series, distributions, spans, and the signals made of them."""
