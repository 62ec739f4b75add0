"""An Ollama server: spoken to, a model made in it, checked, compared with what was sent."""
