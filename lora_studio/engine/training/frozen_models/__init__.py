"""What frozen models say about the rows: the reference of preference training, and a teacher."""
