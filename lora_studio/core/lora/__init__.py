"""The LoRA step: its spec, facts of adapters, and starting from one."""
