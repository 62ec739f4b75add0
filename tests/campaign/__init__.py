"""Fuzz everything that the program reads from others: `python -m tests.campaign`."""
