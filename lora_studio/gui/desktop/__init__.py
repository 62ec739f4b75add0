"""Desktop integration: sleep, task bar progress, notifications, trash."""
