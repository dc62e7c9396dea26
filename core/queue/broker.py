"""Names, options and clients for Redis that publishers, workers and monitoring share."""

from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.settings import Settings

WORK_QUEUE = "ingest"
WORK_TASK = "ingest.work"

TIMEOUT_SECONDS = 0.25  # per request; a Redis behind a dead route would never answer


def celery_config(settings: Settings, *, socket_timeout: float) -> dict[str, Any]:
    """The Celery options that publishers and workers have in common."""
    return {
        "broker_url": broker_url(settings),
        "broker_transport": "core.queue.transport:Transport",
        # No result backend: with a Redis one, a publish takes 19 s to fail when Redis is gone.
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],  # a pickle pushed into Redis is never loaded
        "task_default_queue": WORK_QUEUE,
        "task_publish_retry_policy": {
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.2,
        },
        "broker_transport_options": {
            "socket_connect_timeout": 1,
            # Without it, a Redis behind a dead route blocks its caller for ever.
            "socket_timeout": socket_timeout,
            "max_retries": 1,
            "visibility_timeout": 1800,
            # A killed worker's messages return within seconds; with the defaults, after 100 s.
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
        },
    }


def broker_url(settings: Settings) -> str:
    """kombu's spelling of REDIS_URL.

    kombu calls a Unix socket `redis+socket://` and its database `virtual_host`, and expects the
    password before the path. Without `ssl_cert_reqs` it would not check certificates.
    """
    parts = urlsplit(settings.redis_url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme in ("unix", "redis+socket"):
        user, password = query.pop("username", ""), query.pop("password", "")
        netloc = parts.netloc or (f"{quote(user)}:{quote(password, safe='')}@" if password else "")
        query["virtual_host"] = query.pop("db", query.get("virtual_host", "0"))
        return f"redis+socket://{netloc}{parts.path}?{urlencode(query)}"
    if parts.scheme == "rediss":
        query.setdefault("ssl_cert_reqs", "required")
    if "db" in query:
        parts = parts._replace(path=f"/{query.pop('db')}")
    return urlunsplit(parts._replace(query=urlencode(query)))


def create_redis(url: str) -> redis.Redis:
    """A client that gives up quickly. Use it for queries, not for data that must not be lost."""
    return redis.Redis.from_url(
        url.replace("redis+socket://", "unix://", 1).replace("virtual_host=", "db=", 1),
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        # Try again on a connection that Redis closed, but not after a timeout.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )
