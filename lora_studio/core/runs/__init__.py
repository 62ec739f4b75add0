"""Runs on disk: the folder layout, facts from its files, lists, queues, copies and grid searches."""
