"""A service under many uploads while what it runs on is killed, frozen, emptied and restarted."""
