"""The base model: locating its folder, reading its tokenizer, loading its weights onto a device."""
