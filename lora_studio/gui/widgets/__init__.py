"""Reusable controls; they know neither pages nor the window."""
