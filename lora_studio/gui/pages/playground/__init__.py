"""The playground: chat columns, conversations, blind votes and their storage."""
