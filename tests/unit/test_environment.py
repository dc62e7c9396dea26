"""Proxies, keys, Redis URLs and addresses from the environment."""

from runpy import run_path
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection
from kombu.transport.redis import Channel

from core.embedding.openai import OpenAIEmbedder
from core.errors import Invalid
from core.providers.http import bearer, proxy_for
from core.queue.broker import broker_url
from core.settings import SettingsError, get_settings, read_settings
from launcher.run import _url
from launcher.servers import try_port
from tests.harness import ROOT
from web.http.limits import limits_url

SOUND = {"api_key": "k", "database_url": "postgresql://h/d", "redis_url": "redis://h/0"}
PROXIES = [f"{kind}_proxy" for kind in ("http", "https", "all", "no")]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "https://api.example/v1", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://api.example/v1", "http://p:1"),
        ({"HTTPS_PROXY": "p:1"}, "https://api.example/v1", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://api.example/v1", None),
        ({"ALL_PROXY": "socks5://p:1"}, "http://api.example/v1", "socks5://p:1"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "*"}, "http://api.example/v1", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "api.example"}, "http://api.example/v1", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": ".example"}, "http://api.example/v1", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "x, EXAMPLE"}, "http://api.example/v1", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "ample"}, "http://api.example/v1", "http://p:1"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "::1/128"}, "http://[::1]:80/v1", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "[::1]"}, "http://[::1]:80/v1", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "fd00::/8"}, "http://[fd12::5]/v1", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://10.9.8.7/v1", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://11.1.1.1", "http://p:1"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "h:8080"}, "http://h:8080/v1", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "h:8080"}, "http://h:9090/v1", "http://p:1"),
    ],
)
def test_proxies_are_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == proxy


@pytest.mark.parametrize(
    "variables",
    [
        {"ALL_PROXY": "socks5://127.0.0.1:1080"},
        {"ALL_PROXY": "socks5h://127.0.0.1:1080"},
        {"NO_PROXY": "localhost,::1/128", "HTTPS_PROXY": "http://p:1"},
    ],
)
def test_a_client_is_made_with_any_of_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    OpenAIEmbedder(base_url="http://127.0.0.1:1/v1", model="x", api_key="k", dimensions=8).close()


def test_a_proxy_of_an_unknown_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "ftp://p:1")
    with pytest.raises(Invalid, match=r"^HTTPS_PROXY: must be"):
        proxy_for("https://api.example/v1")


def test_a_key_is_sent_without_white_space_around_it() -> None:
    assert bearer(" sk-abc\r\n") == {b"Authorization": b"Bearer sk-abc"}
    assert bearer(" \n") == {}


@pytest.mark.parametrize(
    ("url", "limits"),
    [
        ("redis://h:6379", "redis://h:6379/1"),
        ("redis://h:6379/0", "redis://h:6379/1"),
        ("redis://h:6379/14", "redis://h:6379/15"),
        ("redis://h:6379/15", "redis://h:6379/15"),
        ("redis://h:6379/40", "redis://h:6379/40"),
        ("rediss://u:p@h/3?ssl_cert_reqs=none", "rediss://u:p@h/4?ssl_cert_reqs=none"),
        ("unix:///run/r.sock", "unix:///run/r.sock?db=1"),
        ("unix:///run/r.sock?db=3&password=x", "unix:///run/r.sock?password=x&db=4"),
        ("unix://:x@/run/r.sock?db=15", "unix://:x@/run/r.sock?db=15"),
    ],
)
def test_limits_are_in_a_database_that_exists(url: str, limits: str) -> None:
    assert limits_url(url) == limits


def connection_parameters(url: str) -> dict[str, Any]:
    """The parameters with which kombu's Redis transport would connect."""
    channel = Channel.__new__(Channel)
    channel.connection = SimpleNamespace(client=Connection(url), default_port=6379)
    parameters: dict[str, Any] = channel._connparams()
    return parameters


@pytest.mark.parametrize(
    ("url", "place", "password", "database"),
    [
        ("redis://:pw@h:6379/15", {"host": "h"}, "pw", 15),
        ("unix:///run/r.sock?db=3&password=p%40w", {"path": "/run/r.sock"}, "p@w", 3),
        ("unix://:pw@/run/r.sock?db=3", {"path": "/run/r.sock"}, "pw", 3),
    ],
)
def test_the_broker_gets_database_and_password(
    url: str, place: dict[str, str], password: str, database: int
) -> None:
    made = connection_parameters(broker_url(read_settings(**SOUND | {"redis_url": url})))
    assert (made["password"], made["db"]) == (password, database)
    assert made.items() >= place.items()


def test_a_broker_over_tls_has_its_certificate_checked() -> None:
    url = "rediss://h:6380/2"
    assert "ssl_cert_reqs=required" in broker_url(read_settings(**SOUND | {"redis_url": url}))
    url += "?ssl_cert_reqs=none"
    assert broker_url(read_settings(**SOUND | {"redis_url": url})) == url


@pytest.mark.parametrize(
    "url",
    ["redis://h/abc", "redis://h:99999/0", "redis://h/-1", "unix://?db=1", "unix:///r?db=x", "h:1"],
)
def test_a_wrong_redis_url_is_reported_in_one_line(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(**SOUND | {"redis_url": url})
    assert str(caught.value).startswith("REDIS_URL: ")
    assert "\n" not in str(caught.value)


def test_the_limits_tell_a_wrong_database_too() -> None:
    with pytest.raises(SettingsError, match=r"^REDIS_URL: the database must be a number$"):
        limits_url("redis://h/abc")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("::", "http://[::1]:8000"),
    ],
)
def test_addresses_are_printed_as_a_browser_accepts_them(host: str, url: str) -> None:
    assert _url(read_settings(**SOUND, bind_host=host), 8000) == url


def test_gunicorn_and_flower_listen_on_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIND_HOST", "::1")
    get_settings.cache_clear()
    try:
        assert run_path(str(ROOT / "deploy/gunicorn.conf.py"))["bind"] == "[::1]:8000"
        assert run_path(str(ROOT / "deploy/flowerconfig.py"))["address"] == "::1"
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


def test_ipv6_can_be_listened_on() -> None:
    try:
        try_port(0, host="::1")
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")


def test_trusted_proxies_are_networks() -> None:
    settings = read_settings(**SOUND, trusted_proxies="10.0.0.0/8, ::1")
    assert [str(one) for one in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    with pytest.raises(SettingsError, match=r"^TRUSTED_PROXIES: "):
        read_settings(**SOUND, trusted_proxies="somebody")
