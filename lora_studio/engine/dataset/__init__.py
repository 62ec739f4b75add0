"""From rows to training batches: split, tokenize, batch, and inspect rows."""
