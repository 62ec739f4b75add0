"""The self-test: base + adapter against the merged model and GGUF files, with limits and causes."""
