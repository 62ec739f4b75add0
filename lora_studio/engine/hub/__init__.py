"""The Hugging Face hub: models fetched and searched, signing in, every failure with its remedy."""
