"""Files that other programs export: chats, annotations, flash cards, and web pages."""
