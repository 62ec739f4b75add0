"""The training step: its spec, optimizers, trackers, and which choices cannot go together."""
