"""Export: from a merged model to GGUF files, Ollama, LM Studio and the Hugging Face Hub."""
