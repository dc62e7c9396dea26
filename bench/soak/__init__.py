"""Soak test: many uploads while processes and servers are killed, frozen and restarted."""
