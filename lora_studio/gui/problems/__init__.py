"""Messages and problems before the user, and the one thing to press for each."""
