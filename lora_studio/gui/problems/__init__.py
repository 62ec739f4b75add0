"""Messages and problems in the window, each with a suggested action."""
