"""Roles and wiring: the only place that composes the packages."""
