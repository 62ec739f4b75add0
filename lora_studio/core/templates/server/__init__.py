"""How an Ollama server renders a TEMPLATE: the data it provides, and its rendering."""
