"""A chat in columns: loaded models, scheduling, tokenized prompts, streamed answers."""
