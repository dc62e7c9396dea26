"""Sessions, messages, chat turns, memory."""
