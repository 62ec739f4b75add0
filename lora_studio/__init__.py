"""LoRA Studio: fine-tune a language model with LoRA and run in Ollama exactly what you trained."""

__version__ = "0.2.0"
