"""What a model is for, one file a task: how it learns, what is served, when an answer is right and when it changed."""
