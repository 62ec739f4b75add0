"""Jobs and queries of the window: worker threads, the query workers and the running job."""
