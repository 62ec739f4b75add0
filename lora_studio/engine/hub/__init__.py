"""The Hugging Face Hub: downloads, search, sign-in, and a remedy for every failure."""
