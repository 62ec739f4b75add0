"""Ollama: creating a model on a server, verifying it, and rendering its TEMPLATE."""
