"""Which hosts this program contacts, why, and how much it sends and receives."""
