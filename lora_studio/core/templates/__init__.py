"""Chat template -> Ollama TEMPLATE: features found, derived, proven; the templates themselves."""
