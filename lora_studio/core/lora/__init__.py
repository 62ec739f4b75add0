"""The LoRA step: its spec, facts about adapters, and starting from one."""
