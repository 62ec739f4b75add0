"""The window whole: its frame with help, appearance and closing, every signal and shortcut wired."""
