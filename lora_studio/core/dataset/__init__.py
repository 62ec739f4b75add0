"""The dataset step: its spec, the sample that a row becomes, faults of a row and their repair."""
