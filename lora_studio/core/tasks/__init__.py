"""What a model learns from rows: one module for each task."""
