"""A chat in columns: what is loaded, whose turn it is, prompts in tokens, answers that grow."""
