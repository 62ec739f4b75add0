"""The open project: state, undo, lock, commands, run preview and memory plan."""
