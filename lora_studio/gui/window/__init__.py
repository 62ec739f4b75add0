"""The complete main window: frame, help, appearance and closing, with all signals and shortcuts connected."""
