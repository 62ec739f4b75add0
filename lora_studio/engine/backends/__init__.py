"""PEFT and Unsloth: two ways to load and wrap, one Protocol."""
