"""Derive an Ollama TEMPLATE from a chat template, and prove that both write the same text."""
