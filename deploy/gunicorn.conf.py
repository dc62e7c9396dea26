"""gunicorn's configuration: `gunicorn --config deploy/gunicorn.conf.py web.app:app`."""

import gc
import os
import shutil
import sys
from pathlib import Path

from core.db import check_pooler
from core.settings import get_settings
from web.http import metrics_files

_settings = get_settings()

_host = f"[{_settings.bind_host}]" if ":" in _settings.bind_host else _settings.bind_host
bind = f"{_host}:{_settings.port}"
workers = _settings.web_workers
worker_class = "web.server.gunicorn_worker.GatheringWorker"  # a hardened gthread
threads = _settings.web_threads
worker_connections = 1000
backlog = 1024
limit_request_line = 8190  # fits the longest query that the API accepts

# The master kills a worker whose main loop is silent for this long. Requests run in threads, so
# they may take longer.
timeout = 60
# Below the 30 s that containers and `make run` wait before they kill.
graceful_timeout = 25
keepalive = 15

# Replace a worker before slow memory leaks matter. With the jitter, workers restart at
# different times.
max_requests = 100_000
max_requests_jitter = 20_000

# In memory, because on a busy disk the heartbeat file's fsync may block for seconds.
_memory = Path("/dev/shm")  # noqa: S108
worker_tmp_dir = str(_memory) if _memory.is_dir() else None

# In memory and not in DATA_DIR, because several machines may share DATA_DIR.
_metrics = (_memory if _memory.is_dir() else _settings.data_dir) / (
    f"rag-metrics-{os.getuid()}-{_settings.port}"
)
raw_env = [f"PROMETHEUS_MULTIPROC_DIR={_metrics}"]

# A thread asks for the interpreter lock after waiting this long. With Python's default of 5 ms,
# short requests and the event loops of streams wait longer while many turns begin.
SWITCH_SECONDS = 0.001
COLLECT_AFTER = 10_000  # new objects; the default of 700 is a few requests

accesslog = None  # the app logs each request itself, with its id and timings
errorlog = "-"
loglevel = "warning"
control_socket_disable = True  # otherwise a socket file stays in the working directory


def on_starting(server):  # type: ignore[no-untyped-def]
    check_pooler(_settings.database_url)


def when_ready(server):  # type: ignore[no-untyped-def]
    """Empty the metrics directory. The port is bound, so no other service uses it."""
    metrics_files.prepare(_metrics)


def child_exit(server, worker):  # type: ignore[no-untyped-def]
    metrics_files.merge_dead_process(_metrics, pid=worker.pid)


def on_exit(server):  # type: ignore[no-untyped-def]
    shutil.rmtree(_metrics, ignore_errors=True)


def post_worker_init(worker):  # type: ignore[no-untyped-def]
    """Load the embedding model before the first question waits for it."""
    services = worker.app.wsgi().extensions["services"]
    services.embedder.warm_up()
    # Not at the top, because the master must not import prometheus_client before `raw_env` is set.
    from web.api.embeddings import warn_of_change  # noqa: PLC0415

    warn_of_change(services)
    keep_from_collector()
    sys.setswitchinterval(SWITCH_SECONDS)


def keep_from_collector() -> None:
    """Keep the garbage collector away from what stays: modules, routes, schemas, the model.

    To look through them takes a fifth of a second, during which no request of the process advances.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)
