"""Reusable widgets that depend on neither pages nor the window."""
