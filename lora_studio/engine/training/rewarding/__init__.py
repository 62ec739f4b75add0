"""Reward training: the answers of each step, their rewards, and what is reported about them."""
