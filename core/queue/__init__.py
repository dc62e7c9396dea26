"""The doorbell and the workers' heartbeats."""
