"""The Hugging Face Hub: models fetched and searched, signing in, every failure with its remedy."""
