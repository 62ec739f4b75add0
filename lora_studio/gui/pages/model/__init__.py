"""The model step: models found, listed, downloaded; device and precision."""
