"""The parent side of a worker: start it, follow it, restart it after an out-of-memory kill."""
