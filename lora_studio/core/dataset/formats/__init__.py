"""Detect the format of rows and convert each row to a sample."""
