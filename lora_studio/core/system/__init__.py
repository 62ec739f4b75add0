"""This computer: folders, whole files, locks, limits of memory, offline mode."""
