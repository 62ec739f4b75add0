"""Ways to load a base model and wrap it with LoRA, one Protocol."""
