"""The Runs page: list, compare, annotate, queue and delete runs."""
