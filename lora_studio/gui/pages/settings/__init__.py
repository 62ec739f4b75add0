"""Settings, the set-up of engines, updates of the program."""
