"""Training on several devices: processes, exchange between ranks, sharded weights."""
