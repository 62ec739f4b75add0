"""The subset of Go's text/template that a TEMPLATE uses: parsing and rendering as Go does."""
