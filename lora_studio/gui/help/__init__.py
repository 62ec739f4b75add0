"""The Help menu: find anything, shortcuts, the tour, about, diagnostics."""
