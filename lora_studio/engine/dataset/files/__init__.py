"""A data file of any kind, from its bytes to blocks of rows; reading continues after a faulty row."""
