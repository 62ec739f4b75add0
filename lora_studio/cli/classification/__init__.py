"""Use a classifier in the terminal, and see how well it predicts each label."""
