"""The forward pass in fewer passes over memory: packing, attention, fused layers, log-probabilities."""
