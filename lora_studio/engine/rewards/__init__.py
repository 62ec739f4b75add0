"""Rate answers with the rewards of a recipe."""
