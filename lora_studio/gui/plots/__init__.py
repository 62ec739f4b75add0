"""The one typed surface around pyqtgraph."""
