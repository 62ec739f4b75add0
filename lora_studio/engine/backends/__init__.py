"""PEFT and Unsloth: two ways to load a model and attach an adapter."""
