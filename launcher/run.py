"""`make run`: servers, schema, model, then the Procfile's processes, until a signal.

    python -m launcher

It changes to the checkout's directory. Everything it starts ends with it, even if it is
killed. Log lines are shortened; `LOG_FORMAT=json make run` shows them in full.
"""

import errno
import fcntl
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import redis
from celery import Celery
from dotenv import dotenv_values, set_key
from honcho.environ import parse_procfile
from sqlalchemy.exc import SQLAlchemyError

from core.db import migrate
from core.queue.broker import broker_url
from core.settings import Settings, SettingsError, get_settings, read_settings
from launcher.log_lines import shorten
from launcher.servers import ServerError, last_line, start_postgres, start_redis, try_port
from launcher.supervisor import Output, ProcessEnded, Supervisor

ROOT = Path(__file__).resolve().parent.parent

_READY_SECONDS = 180.0
_REMIND_SECONDS = 900.0  # the banner scrolls away
_STOP_SECONDS = 30.0  # web and worker finish their work; both give up earlier
_ROOT_WARNING = "ignore:You're running the worker with superuser"  # known here, and intended
_MODEL_STEP = "checking the embedding model (the first time it is built, in a few minutes)"
_HURRY_SECONDS = 1.0  # one Ctrl-C may arrive twice, from the terminal and from make


Step = Callable[[str], AbstractContextManager[None]]


class StartError(RuntimeError):
    """The service cannot start. Its text is one line for the user."""


class _Stopped(BaseException):
    """A signal asked the launcher to stop."""


class _Signals:
    """The first SIGINT, SIGTERM or SIGHUP raises _Stopped; a later one sets `hurry`.

    Once `stopping` is set, no signal raises, so that nothing interrupts the shutdown.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self.stopping = False
        self.hurry = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
        self.hurry = now - self._first > _HURRY_SECONDS
        if not self.stopping:
            self.stopping = True
            raise _Stopped


def main() -> int:
    os.chdir(ROOT)
    signals = _Signals()
    processes = parse_procfile((ROOT / "Procfile").read_text()).processes
    short = None if os.environ.get("LOG_FORMAT") == "json" else shorten
    width = max(map(len, [*processes, "system"]))
    output = Output(sys.stdout.buffer, width=width, rewrite=short)
    try:
        with ExitStack() as stack:
            try:
                _run(processes=processes, output=output, signals=signals, stack=stack)
            finally:
                signals.stopping = True
    except _Stopped:
        output.say("stopped")
    except (StartError, ServerError, ProcessEnded, SettingsError) as error:
        print(f"make run: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _run(
    *, processes: Mapping[str, str], output: Output, signals: _Signals, stack: ExitStack
) -> None:
    settings = _prepare_settings()
    _check_ports(settings)
    stack.enter_context(_only_one(settings.data_dir))
    say = output.say
    settings = _start_servers(settings, step=output.step, stack=stack)
    with output.step("migrating the database"):
        _migrate(settings)
    if settings.embedding_provider == "local":
        with output.step(_MODEL_STEP):
            _build_model(settings)
    supervisor = Supervisor(cwd=ROOT, env=_environment(settings), output=output)
    stack.callback(_stop, supervisor, say=say, signals=signals)
    say(f"starting {', '.join(processes)}")
    for name, command in processes.items():
        supervisor.start(name=name, command=command)
    _wait_until_ready(settings, names=set(processes), supervisor=supervisor)
    output.block(_banner(settings, names=set(processes)))
    reminded = time.monotonic()
    while True:
        supervisor.check()
        if time.monotonic() - reminded > _REMIND_SECONDS:
            say(_reminder(settings))
            reminded = time.monotonic()
        time.sleep(0.2)


def _prepare_settings() -> Settings:
    """The settings, with placeholders for the URLs of servers that are not started yet."""
    env_file = ROOT / ".env"
    try:
        given = {**dotenv_values(env_file), **os.environ}
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f".env: cannot be read: {error}") from None
    present = {name.upper() for name, value in given.items() if value}
    if "API_KEY" not in present and (given.get("APP_ENV") or "development") != "production":
        _keep_new_key(env_file)
    placeholders = {
        "database_url": "postgresql://embedded",
        "redis_url": "redis://embedded",
    }
    return read_settings(
        **{name: url for name, url in placeholders.items() if name.upper() not in present}
    )


def _keep_new_key(env_file: Path) -> None:
    try:
        env_file.touch(mode=0o600)
        env_file.chmod(0o600)
        set_key(env_file, "API_KEY", f"rag_{secrets.token_urlsafe(24)}", quote_mode="never")
    except OSError as error:
        raise StartError(f"API_KEY: a new one cannot be kept in .env: {error}") from None


def _check_ports(settings: Settings) -> None:
    ports = {
        "PORT": settings.port,
        "FLOWER_PORT": settings.flower_port,
        "UI_PORT": settings.ui_port,
    }
    for name, port in ports.items():
        twins = [other for other in ports if other != name and ports[other] == port]
        if twins:
            raise StartError(f"{name} and {twins[0]} are both {port}: give each its own")
        _check_port(name, port=port, host=settings.bind_host)


def _check_port(name: str, *, port: int, host: str) -> None:
    try:
        try_port(port, host=host)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"{name}: port {port} is taken; choose another") from None
        if error.errno == errno.EACCES:
            raise StartError(f"{name}: port {port} is for root only; choose another") from None
        raise StartError(f"BIND_HOST: cannot listen on {host}: {error.strerror}") from None


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    """Lock the data directory against a second `make run`. The lock ends with this process."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir, os.O_RDONLY)
    except OSError as error:
        raise StartError(f"DATA_DIR: {data_dir} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StartError(f"DATA_DIR: another `make run` is using {data_dir}") from None
    finally:
        os.close(descriptor)


def _start_servers(settings: Settings, *, step: Step, stack: ExitStack) -> Settings:
    """Start each server that has no URL; return the settings for all processes."""
    data_dir = settings.data_dir.absolute()
    found: dict[str, str] = {"DATA_DIR": str(data_dir)}
    try:
        if settings.database_url.endswith("://embedded"):
            with step("starting PostgreSQL"):
                postgres = start_postgres(data_dir / "postgres")
            stack.callback(postgres.stop)
            found["DATABASE_URL"] = postgres.url
        if settings.redis_url.endswith("://embedded"):
            with step("starting Redis"):
                server = start_redis(data_dir / "redis")
            stack.callback(server.stop)
            found["REDIS_URL"] = server.url
    except OSError as error:
        raise StartError(f"DATA_DIR: {data_dir} cannot be used: {error}") from None
    os.environ.update(found)
    get_settings.cache_clear()
    settings = get_settings()
    _check_redis(settings)
    return settings


def _check_redis(settings: Settings) -> None:
    with redis.Redis.from_url(
        settings.redis_url, socket_timeout=3, socket_connect_timeout=3, retry=None
    ) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            raise StartError(f"REDIS_URL: Redis does not answer: {error}") from None


def _build_model(settings: Settings) -> None:
    """Build the local embedding model, unless an earlier start did."""
    log = settings.data_dir / "model-build.log"
    with log.open("wb") as output:  # its libraries print progress bars
        built = subprocess.run(
            [sys.executable, "-m", "core.embedding.build"],
            check=False,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if built.returncode != 0:
        reason = last_line(log.read_text("utf-8", "replace"))
        raise StartError(f"the embedding model could not be built: {reason} (see {log})")


def _migrate(settings: Settings) -> None:
    try:
        migrate(settings.database_url)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise StartError(f"DATABASE_URL: cannot migrate: {reason}") from None


def _environment(settings: Settings) -> dict[str, str]:
    """The environment of the Procfile's commands, with this Python first on PATH."""
    from_file = {name: value for name, value in dotenv_values(ROOT / ".env").items() if value}
    quiet = {"PYTHONWARNINGS": _ROOT_WARNING} if os.geteuid() == 0 else {}
    path = os.environ.get("PATH", os.defpath)
    chosen = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{path}",
        "PYTHONUNBUFFERED": "1",
        "BIND_HOST": settings.bind_host,
        "UI_PORT": str(settings.ui_port),
        "WORKER_CONCURRENCY": str(settings.worker_concurrency),
        "LOG_LEVEL": settings.log_level,
        "API_URL": _url(settings, settings.port),
        "API_KEY": settings.api_key.get_secret_value(),
    }
    return from_file | quiet | os.environ | chosen


def _url(settings: Settings, port: int) -> str:
    host = settings.bind_host
    if host in {"0.0.0.0", ""}:  # noqa: S104
        host = "127.0.0.1"
    if host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _wait_until_ready(settings: Settings, *, names: set[str], supervisor: Supervisor) -> None:
    """Return when every process answers; raise StartError or ProcessEnded if one does not."""
    checks: dict[str, Callable[[], bool]] = {
        "web": partial(_answers, f"{_url(settings, settings.port)}/health/ready"),
        "flower": partial(_answers, f"{_url(settings, settings.flower_port)}/healthcheck"),
        "ui": partial(_answers, f"{_url(settings, settings.ui_port)}/_stcore/health"),
        "worker": partial(_worker_answers, settings),
    }
    waiting = names & set(checks)
    deadline = time.monotonic() + _READY_SECONDS
    while waiting:
        supervisor.check()
        waiting = {name for name in waiting if not checks[name]()}
        if waiting and time.monotonic() > deadline:
            late = ", ".join(sorted(waiting))
            raise StartError(f"no answer within {_READY_SECONDS:.0f} s: {late}")
        time.sleep(0.2)
    supervisor.check()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=3, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _worker_answers(settings: Settings) -> bool:
    with Celery("run", broker=broker_url(settings)) as app:
        return bool(app.control.ping(timeout=0.5))


def _stop(supervisor: Supervisor, *, say: Callable[[str], None], signals: _Signals) -> None:
    say("stopping")
    supervisor.stop(seconds=_STOP_SECONDS, hurry=lambda: signals.hurry)


def _banner(settings: Settings, *, names: set[str]) -> str:
    rows = [
        ("web", "API", f"{_url(settings, settings.port)}/docs"),
        ("ui", "Chat", _url(settings, settings.ui_port)),
        ("flower", "Flower", f"{_url(settings, settings.flower_port)}  {_flower_login(settings)}"),
    ]
    shown = [(label, text) for name, label, text in rows if name in names]
    shown.append(("API key", settings.api_key.get_secret_value()))
    shown.append(("Data", str(settings.data_dir)))
    rule = "─" * 72
    lines = [f"  {label:<9}{text}" for label, text in shown]
    return "\n".join(["", rule, "  Ready. Ctrl-C stops everything.", "", *lines, rule, ""])


def _reminder(settings: Settings) -> str:
    """The addresses in one line."""
    chat, api = _url(settings, settings.ui_port), _url(settings, settings.port)
    return f"chat {chat} · API {api}/docs · queue {_url(settings, settings.flower_port)}"


def _flower_login(settings: Settings) -> str:
    kind = "FLOWER_PASSWORD" if settings.flower_password.get_secret_value() else "the API key"
    return f"(user admin, password: {kind})"
