"""Settings, engine setup, and updates of the program."""
