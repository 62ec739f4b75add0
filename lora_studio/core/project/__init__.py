"""Project files: the six specs as a draft or frozen, with migrations, checks and presets."""
