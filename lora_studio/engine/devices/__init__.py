"""Devices: which there are, which is meant, how busy, and one job on each at a time."""
