"""The parent side of a worker: started, watched, replaced when memory ends it, the system kept awake."""
