"""Whether what a model is asked, and what it answers, is distributed as when it was made."""
