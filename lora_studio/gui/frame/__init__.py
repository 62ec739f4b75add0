"""The shell: rail, header, actions, device gauges and lazily created pages."""
