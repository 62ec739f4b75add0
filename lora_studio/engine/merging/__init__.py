"""Adapters into a base, or into one another: planned, computed in blocks, written, gone on with."""
