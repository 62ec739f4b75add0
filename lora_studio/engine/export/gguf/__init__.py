"""GGUF files: converted, measured, quantised, straight from base and adapter where asked."""
