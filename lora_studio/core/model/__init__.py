"""The model step: its spec, and facts about a model before it is loaded."""
