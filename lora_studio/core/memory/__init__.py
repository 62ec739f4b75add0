"""Estimate the memory and duration of a training, suggest changes that make it fit, and calibrate
from earlier runs.
"""
