"""What a recipe selects: optimizer, schedule, embedding noise, the adapter to keep."""
