"""Runs on disk: the folder, what its files tell, lists, queues, copies and searches of runs."""
