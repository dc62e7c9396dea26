"""gunicorn's configuration: `gunicorn --config deploy/gunicorn.conf.py web.app:app`."""

from pathlib import Path

from core.settings import get_settings

_settings = get_settings()

bind = f"{_settings.bind_host}:{_settings.port}"
workers = _settings.web_workers
worker_class = "web.gunicorn_worker.GatheringWorker"  # gthread, hardened against slow clients
threads = _settings.web_threads
worker_connections = 1000
backlog = 1024
limit_request_line = 8190  # the longest query that the API takes fits in

# The master kills a worker whose main loop is silent for this long. Requests
# run in threads and may take longer: a streamed answer does.
timeout = 60
# Below the 30 s that containers and `make run` wait before they kill.
graceful_timeout = 25
keepalive = 15

# A worker is replaced before slow leaks matter, and not all of them at once.
max_requests = 20_000
max_requests_jitter = 2_000

# The heartbeat file's fsync may block for seconds on a busy disk.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108

accesslog = None  # the app logs each request itself, with its id and timings
errorlog = "-"
loglevel = "warning"
control_socket_disable = True  # else a socket file is left in the working directory


def post_worker_init(worker):  # type: ignore[no-untyped-def]
    """Load the embedding model before the first question waits for it."""
    _ = worker.wsgi.extensions["services"].embedder
