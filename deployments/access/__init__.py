"""Who is answered: keys, what they open, and the record of it."""
