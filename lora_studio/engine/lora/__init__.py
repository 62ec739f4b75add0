"""The adapter: its initial values, its files, and how it is attached to a model."""
