"""The training step: its spec, optimizers, trackers, and incompatible choices."""
