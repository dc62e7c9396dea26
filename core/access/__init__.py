"""API keys and idempotency keys: who may call, and which calls were answered before."""
