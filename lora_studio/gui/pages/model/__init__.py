"""The model step: choose a base model, download it, set device and precision."""
