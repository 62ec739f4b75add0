"""The verbs of `lora-studio`, the display that they share, and projects run without a window."""
