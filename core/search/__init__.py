"""Finds passages by meaning and by words."""
