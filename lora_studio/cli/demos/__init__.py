"""`lora-studio demo`: run a sample project from end to end and check what the model learned."""
