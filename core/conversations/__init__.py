"""Chat sessions: their messages, turns and memory, and their export, import and erasure."""
