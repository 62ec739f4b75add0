"""What a recipe selects: objective, optimizer, schedule, embedding noise, the adapter to keep."""
