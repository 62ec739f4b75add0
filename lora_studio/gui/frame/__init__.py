"""The window's frame: navigation rail, header, actions, device gauges and lazily created pages."""
