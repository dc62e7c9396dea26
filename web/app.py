"""The application factory: `gunicorn "web.app:create_app()"`, `flask --app web.app`."""

import logging
from collections.abc import Callable
from typing import Any

from flask import Flask
from flask_cors import CORS
from flask_smorest import Api

from core.bootstrap import Services, bootstrap
from core.conversations.live import LiveAnswers
from core.queue.broker import create_redis
from core.settings import Settings, get_settings
from core.telemetry import configure_logging
from web.api import (
    chat,
    documents,
    embeddings,
    health,
    jobs,
    keys,
    messages,
    rereading,
    search,
    sessions,
    traces,
    users,
)
from web.api_docs import views
from web.http import auth, errors, limits, request_checks, uploads
from web.http.proxies import ForwardedPrefix
from web.http.request_log import RequestLog
from web.http.streaming import Slots
from web.http.view_policy import turn_requests

BODY_BYTES = 1024 * 1024
FORM_FIELD_BYTES = 64 * 1024
FORM_PARTS = 10
SPARE_CONNECTIONS = 2  # for the timers that renew leases, beside the request threads

_EXPOSED = (
    "X-Request-ID",
    "Location",
    "Retry-After",
    "Idempotent-Replayed",
    "Content-Disposition",
    "Accept-Ranges",
    "Content-Range",
    "ETag",
    *limits.EXPOSED_HEADERS,
)
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-site",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class _App(Flask):
    request_class = uploads.UploadRequest

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return `func` unchanged: no view is a coroutine, and Flask's check costs time."""
        return func


def create_app(settings: Settings | None = None, services: Services | None = None) -> Flask:
    """The WSGI application. It connects to nothing before the first request."""
    settings = settings or (services.settings if services else get_settings())
    configure_logging(level=settings.log_level)
    # At INFO, Alembic logs two lines at each readiness check, which reads the schema's version.
    logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)
    app = _App("web", static_folder=None)
    app.extensions["services"] = services or bootstrap(
        settings, pool_size=settings.web_threads + SPARE_CONNECTIONS
    )
    app.extensions["live_answers"] = LiveAnswers(app.extensions["services"])
    app.extensions["slots"] = Slots(settings.web_threads)
    app.extensions["redis"] = create_redis(settings.redis_url)
    _configure(app)
    _add_checks(app, settings)
    _register(app)
    app.extensions["turn_requests"] = turn_requests(app)
    errors.init_app(app)
    app.wsgi_app = RequestLog(  # type: ignore[method-assign]
        app.wsgi_app, headers=_SECURITY_HEADERS
    )
    if settings.trusted_proxies:
        app.wsgi_app = ForwardedPrefix(  # type: ignore[method-assign]
            app.wsgi_app, trusted=settings.trusted_proxies
        )
    return app


def _configure(app: Flask) -> None:
    app.config.update(
        MAX_CONTENT_LENGTH=BODY_BYTES,
        MAX_FORM_MEMORY_SIZE=FORM_FIELD_BYTES,
        MAX_FORM_PARTS=FORM_PARTS,
        **views.CONFIG,
    )
    # No redirects that add or remove a slash: they lose a POST's body and are not problem+json.
    app.url_map.converters["user_id"] = users.UserIdConverter
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False


def _add_checks(app: Flask, settings: Settings) -> None:
    """Register the checks in their order: caller, rate limit, scope, address, coding."""
    if settings.cors_origins:
        CORS(
            app,
            origins=settings.cors_origins,
            expose_headers=list(_EXPOSED),
            max_age=600,
            vary_header=True,
        )
    app.before_request(auth.record_route)
    app.before_request(auth.identify)
    limits.init_app(app, limits.create_limiter(settings))
    app.before_request(auth.authorize)
    app.before_request(request_checks.check_address)
    app.before_request(request_checks.check_coding)
    app.after_request(uploads.drain)


def _register(app: Flask) -> None:
    api = Api(app)
    for module in (health, sessions, messages, chat, traces, documents, jobs, search, users, keys):
        api.register_blueprint(module.blp)
    views.init_app(app, api)
    app.cli.add_command(keys.cli)
    app.cli.add_command(embeddings.cli)
    app.cli.add_command(rereading.cli)
