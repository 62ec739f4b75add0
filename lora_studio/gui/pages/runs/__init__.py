"""Runs: listed, compared, noted on, queued, searched over, cleared away."""
