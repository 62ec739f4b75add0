"""The LoRA step, and the adapter library: inspect, weight, combine and reuse adapters."""
