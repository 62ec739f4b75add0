"""From a merged model to GGUF files and an Ollama model."""
