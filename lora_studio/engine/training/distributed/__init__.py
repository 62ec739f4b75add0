"""Several processes at one training: what they agree on, how they start and end, divided weights."""
