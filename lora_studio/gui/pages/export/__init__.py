"""The export step: files and their self-tests, TEMPLATE, Ollama, the Hub."""
