"""A Flask application with one trivial view, which `bench.api` runs as its baseline."""

from types import SimpleNamespace

from flask import Flask, Response

app = Flask("bare")
# gunicorn's configuration warms this up.
app.extensions["services"] = SimpleNamespace(embedder=SimpleNamespace(warm_up=lambda: None))


@app.route("/health/live")
def bare() -> Response:
    return Response('{"status": "alive"}', mimetype="application/json")
