"""The worker process: torch lives here and nowhere else."""
