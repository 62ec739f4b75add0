"""A training from set-up to end: session -> loop -> evaluation, saving, samples, record."""
