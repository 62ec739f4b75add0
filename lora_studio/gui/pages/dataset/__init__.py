"""The dataset step: sources and their mapping, rows looked at, lengths, findings."""
