"""Rows -> what trains: split, prepared, batched, and looked at row by row."""
