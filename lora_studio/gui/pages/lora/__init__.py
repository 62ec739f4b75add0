"""The LoRA step, and the library of adapters: looked into, weighted, combined."""
