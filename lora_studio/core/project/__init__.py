"""Project files: the six specs as a draft or frozen, with checks and presets."""
