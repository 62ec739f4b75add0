"""Clients of servers that run models."""
