"""The protocol between window and worker: the commands of each step and their events."""
