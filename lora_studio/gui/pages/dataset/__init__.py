"""The dataset step: sources with their mapping, rows, lengths and findings."""
