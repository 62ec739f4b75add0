"""Plots of training runs and datasets: the only package that uses pyqtgraph."""
