"""The commands of `lora-studio`, their terminal output, and running a project without the window."""
