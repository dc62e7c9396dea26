"""Real servers and the whole service, for tests and benches."""
