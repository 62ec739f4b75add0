"""The model step: its spec, and what is known of a model before it is loaded."""
