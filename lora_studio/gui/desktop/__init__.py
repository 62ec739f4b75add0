"""What the desktop around the window is told of a job: stay awake, how far, and that it has ended."""
