"""Evaluate models: read test sets, let every column answer, score the answers, and ask a judge."""
