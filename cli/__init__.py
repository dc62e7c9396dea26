"""`ragchat`, the terminal client. It uses the HTTP API and imports no other package here."""
