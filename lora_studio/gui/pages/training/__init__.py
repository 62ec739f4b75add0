"""The training step: the recipe before, curves during, a verdict after."""
