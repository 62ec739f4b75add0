"""Merging adapters into a base model or into one adapter."""
