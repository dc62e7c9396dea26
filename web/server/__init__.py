"""The gunicorn worker: gunicorn's threaded worker, hardened against slow clients."""
