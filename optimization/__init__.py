"""Makes a trained model small: recipe in, artifact out."""
