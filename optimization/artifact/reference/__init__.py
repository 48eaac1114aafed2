"""What a model was asked, and what it answered, when it was made: what is served later is compared with that."""
