"""The layers that every request passes: keys, limits, idempotency, parsing, errors, logging."""
