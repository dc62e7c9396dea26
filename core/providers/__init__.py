"""Other people's HTTP endpoints: how to reach them, why they refuse, and the reranker's client."""
