"""Write a TEMPLATE from decision trees: pieces, markers, JSON, dates, and trimming."""
