"""The curves of a training: made of its events, judged while it runs and after, and what to change."""
