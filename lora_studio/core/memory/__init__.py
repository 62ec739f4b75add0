"""What a training takes of memory and time, what makes it fit, what earlier runs here showed."""
