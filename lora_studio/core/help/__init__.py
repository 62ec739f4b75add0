"""Help: topics of the settings, diagnostics archives, redaction of private data, licenses."""
