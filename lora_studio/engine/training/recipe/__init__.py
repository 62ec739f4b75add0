"""What a recipe chooses: objective, optimizer, schedule, noise, which adapter is kept."""
