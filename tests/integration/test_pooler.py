"""PgBouncer in front of PostgreSQL: session mode works, anything else is refused in one line."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from core.db import Database, check_pooler, make_engine
from core.db.engine import OPTIONS
from core.settings import SettingsError
from tests.harness import ROOT
from tests.harness.ports import free_port

pytestmark = pytest.mark.skipif(
    not shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin"),
    reason="needs pgbouncer (Debian, Ubuntu: apt-get install pgbouncer)",
)
IGNORED = "extra_float_digits,options"


@pytest.fixture
def pooled(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start PgBouncer in front of this test's database; its URL."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*, mode: str, ignored: str = IGNORED, more: str = "") -> str:
        port, target = free_port(), make_url(database_url)
        directory = tmp_path_factory.mktemp("pgbouncer")
        directory.chmod(0o755)
        config = directory / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host={target.host} port={target.port} "
            f"user={target.username} password={target.password}\n"
            f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nauth_type=any\n"
            f"unix_socket_dir=\npool_mode={mode}\nignore_startup_parameters={ignored}\n{more}\n"
        )
        command = [shutil.which("pgbouncer") or "/usr/sbin/pgbouncer", "-q", str(config)]
        if os.getuid() == 0:
            for path in (directory, config):
                shutil.chown(path, "nobody")
            command[1:1] = ["-u", "nobody"]
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        url = target.set(port=port).render_as_string(hide_password=False)
        wait_until_it_answers(url)
        return url

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_until_it_answers(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            plain = url.replace("+psycopg2", "")
            psycopg2.connect(plain).close()
            return
        except psycopg2.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_postgresql_itself_is_accepted(database_url: str) -> None:
    check_pooler(database_url)


def test_a_database_that_is_away_is_for_others_to_tell() -> None:
    check_pooler("postgresql://nobody@127.0.0.1:1/none")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"mode": "transaction"}, "in transaction mode"),
        ({"mode": "statement"}, "in transaction mode"),
        (
            {"mode": "transaction", "more": "server_round_robin=1\nmin_pool_size=3"},
            "in transaction mode",
        ),
        ({"mode": "transaction", "ignored": "extra_float_digits"}, "refuses the connection's"),
        ({"mode": "session", "ignored": "extra_float_digits"}, "refuses the connection's options"),
        ({"mode": "session"}, "drops the connection's options"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    pooled: Callable[..., str], options: dict[str, str], why: str
) -> None:
    with pytest.raises(SettingsError, match=rf"^DATABASE_URL: [^\n]*{why}[^\n]*$"):
        check_pooler(pooled(**options))


def test_session_mode_works_with_the_options_on_the_role(
    pooled: Callable[..., str], database_url: str
) -> None:
    set_on_the_database(database_url)
    url = pooled(mode="session")
    check_pooler(url)
    database = Database(make_engine(url, pool_size=2))
    for _ in range(3):
        with database.transaction(tenant_id="t") as db:
            assert db.execute(text("SHOW statement_timeout")).scalar_one() == "15s"
            assert db.execute(text("SELECT current_setting('app.tenant_id')")).scalar_one() == "t"
        rows = database.autocommit(tenant_id="t").execute(text("SELECT CAST(:n AS int)"), {"n": 1})
        assert rows == [(1,)]
    database.engine.dispose()


def set_on_the_database(url: str) -> None:
    name = make_url(url).database
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT CAST('[1]' AS vector)")  # loads pgvector, which owns `hnsw.*`
        for option in OPTIONS.removeprefix("-c ").split(" -c "):
            setting, _, value = option.partition("=")
            cursor.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    connection.close()


@pytest.mark.parametrize(
    "command",
    [
        ["gunicorn", "--config", "deploy/gunicorn.conf.py", "web.app:create_app()"],
        ["celery", "--app", "worker.app", "worker", "--pool", "solo"],
        ["alembic", "upgrade", "head"],
    ],
    ids=lambda command: command[0],
)
def test_every_process_refuses_to_start(
    pooled: Callable[..., str], redis_url: str, tmp_path: Path, command: list[str]
) -> None:
    environment = os.environ | {
        "DATABASE_URL": pooled(mode="transaction"),
        "REDIS_URL": redis_url,
        "DATA_DIR": str(tmp_path),
        "PORT": str(free_port()),
    }
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert ended.stderr.strip().splitlines()[-1].startswith("DATABASE_URL: leads to a pooler")
