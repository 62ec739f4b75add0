"""What can only be shown on a GPU: `python -m tests.gpu --out DIR`."""
