"""Access to this computer: folders, atomic files, locks, memory limits, offline mode."""
