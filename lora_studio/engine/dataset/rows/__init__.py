"""The rows of a source, cached on disk: scanned, joined, validated, converted and tokenized."""
