"""What a merged model and its GGUF files must hold, by PEFT and published rules; shares no code with merging and export."""
