"""Words, sentences and questions, without an index."""
