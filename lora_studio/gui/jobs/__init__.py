"""Jobs and queries of the window: worker threads, the inspector and the running job."""
