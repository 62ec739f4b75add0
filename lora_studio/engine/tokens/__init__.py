"""A conversation -> text -> token ids, and exactly which of them train."""
