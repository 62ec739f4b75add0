"""The engine environment: found, planned, downloaded, installed, checked, switched. No Qt, no torch."""
