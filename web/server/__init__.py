"""gunicorn's worker and its protections."""
