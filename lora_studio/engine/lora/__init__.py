"""The adapter: what it begins as, its files, and the two ways to load and wrap."""
