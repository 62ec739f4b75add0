"""The base model: from what the user named to a folder, its tokenizer, and weights on a device."""
