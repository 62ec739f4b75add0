"""What an Ollama server does with a TEMPLATE: the data it hands over, and its rendering."""
