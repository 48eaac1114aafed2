"""What a recipe may say, and how it is told what is wrong with it."""
