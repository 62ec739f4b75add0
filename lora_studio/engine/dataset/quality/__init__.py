"""Compare rows: duplicates, leakage, outliers, and the text of every finding."""
