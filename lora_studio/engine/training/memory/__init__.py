"""Memory of a training: estimated before, watched during, and what happens when it runs out."""
