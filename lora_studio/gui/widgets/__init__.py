"""Reusable widgets that know neither pages nor the window."""
