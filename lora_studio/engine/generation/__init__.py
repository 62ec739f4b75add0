"""Generate answers and score continuations, in batches."""
