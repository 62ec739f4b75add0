"""What a recipe selects: optimizer, schedule, embedding noise."""
