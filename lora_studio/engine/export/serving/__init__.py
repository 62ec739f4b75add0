"""Serve runs with llama-server: their GGUF files, or their adapters on the base model."""
