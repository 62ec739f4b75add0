"""The rows of a source kept on disk: scanned, chained, judged, as samples and as tokens."""
