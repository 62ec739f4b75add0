"""A data file of any kind, from its bytes to blocks of rows; a faulty row is never an end."""
