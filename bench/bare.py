"""The least a Flask service can do, for `bench.api`, behind the same gunicorn configuration."""

from types import SimpleNamespace

from flask import Flask, Response

app = Flask("bare")
app.extensions["services"] = SimpleNamespace(embedder=None)  # what the configuration warms up


@app.route("/health/live")
def bare() -> Response:
    return Response('{"status": "alive"}', mimetype="application/json")
