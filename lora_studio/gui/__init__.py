"""The window, built with PySide6 and pyqtgraph. Never imports torch or the engine."""
