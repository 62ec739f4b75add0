"""Learn what a chat template writes by rendering marked conversations: parts and decision trees."""
