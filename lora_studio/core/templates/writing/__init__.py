"""A TEMPLATE written from decision trees: pieces, marks, JSON, repr, dates, blanks."""
