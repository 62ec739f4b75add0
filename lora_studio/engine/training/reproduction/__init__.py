"""train.py of a run: repeats a training without this program."""
