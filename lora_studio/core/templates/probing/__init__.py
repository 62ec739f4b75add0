"""What a chat template writes, found out by rendering marked conversations: parts and decision trees."""
