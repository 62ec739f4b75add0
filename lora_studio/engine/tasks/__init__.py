"""What the engine does for each task: its objective, and what the model needs."""
