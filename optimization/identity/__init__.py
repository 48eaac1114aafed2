"""What something was made of, as digests: files, code, and all that a recipe names. Nothing here imports torch."""
