"""The commands about datasets: inspect their sources, check their rows, and show how a row is rendered."""
