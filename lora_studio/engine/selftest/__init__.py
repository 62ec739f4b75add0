"""Adapter against merged against GGUF: read, compared, limits, causes."""
