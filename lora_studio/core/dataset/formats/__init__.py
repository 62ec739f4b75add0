"""Which format rows have and the sample each becomes: values -> turns -> columns -> mapping -> conversion -> detection."""
