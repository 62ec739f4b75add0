"""The Settings page, the engine setup, and update checks."""
