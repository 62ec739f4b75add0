"""What window and worker say to each other: for each step its commands and the events that answer them."""
