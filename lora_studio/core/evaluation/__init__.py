"""Evaluations: which models answer which test sets, how answers are measured, and what came out."""
