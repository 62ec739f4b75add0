"""The open project: state, undo, lock, commands, what will run and what it will take."""
