"""One page per step of the wizard, and Home."""
