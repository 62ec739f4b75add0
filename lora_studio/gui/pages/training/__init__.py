"""The training step: settings before a run, curves during it, and a verdict after it."""
