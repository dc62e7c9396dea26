"""A Flask application with one trivial view, which `bench.api` runs as its baseline."""

from types import SimpleNamespace

from flask import Flask, Response

app = Flask("bare")
# What the configuration warms up.
app.extensions["services"] = SimpleNamespace(embedder=SimpleNamespace(warm_up=lambda: None))


@app.route("/health/live")
def bare() -> Response:
    return Response('{"status": "alive"}', mimetype="application/json")
