"""Rewards: how answers of a model are rated while it trains on them."""
