"""Redis: the doorbell, the work queue and the workers' heartbeats."""
