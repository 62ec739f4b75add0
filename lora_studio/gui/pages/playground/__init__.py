"""The playground: columns, the conversation, blind votes, what is kept."""
