"""Home: recent projects, trainings that were cut off."""
