"""Rows against each other: duplicates, leakage, outliers, and every finding in words."""
