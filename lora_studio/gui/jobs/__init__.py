"""Jobs and questions of the window: worker threads, the inspector, the running job."""
