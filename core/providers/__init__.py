"""HTTP endpoints of other people: what their clients share, and the reranker's client."""
