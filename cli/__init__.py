"""`ragchat`, the terminal client: a client of the HTTP API that imports no other package here."""
