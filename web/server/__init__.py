"""gunicorn's worker, hardened against slow clients."""
