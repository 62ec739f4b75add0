"""The pages: one per step, Home, Runs, Playground and Settings."""
