"""Backends: names looked up again, connections made, health asked for."""
