"""The Help menu: command palette, shortcuts, tour, diagnostics file, about."""
