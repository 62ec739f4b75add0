"""When memory is short: told before the first step, watched, and the ladder down."""
