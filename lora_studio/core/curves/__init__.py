"""Training curves: built from a run's events, judged during and after training, with advice."""
