"""The adapter: its initial values, its files, and attaching it to a model."""
