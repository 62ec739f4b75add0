"""The dataset step: sources and their mapping, rows, lengths, findings."""
