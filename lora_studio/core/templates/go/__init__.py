"""Go's text/template as far as a TEMPLATE uses it: parsed, and rendered as Go renders it."""
