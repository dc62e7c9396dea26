"""How our clients reach other people's endpoints: proxies, certificates, keys."""

import ipaddress
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx

from core.errors import Invalid
from core.providers.aiohttp_transport import AiohttpTransport

_SCHEMES = frozenset({"http", "https", "socks5", "socks5h"})


def client_options(base_url: str) -> dict[str, Any]:
    """What httpx's clients of `base_url` have in common.

    httpx reads the proxies from the environment itself, but fails at networks in `NO_PROXY`
    (`::1/128`, `10.0.0.0/8`). A client of ours has one host, so its proxy is known from the
    start.
    """
    return {
        "proxy": proxy_for(base_url),
        "trust_env": False,
        # With the certificates of SSL_CERT_FILE and SSL_CERT_DIR, which `trust_env` would read.
        "verify": httpx.create_ssl_context(),
    }


def async_client(base_url: str, *, timeout: httpx.Timeout) -> httpx.AsyncClient:
    """An asynchronous client of `base_url` for many streams at the same time.

    Without a proxy, aiohttp makes its connections. httpx makes those to a proxy, because aiohttp
    knows no SOCKS.
    """
    options = client_options(base_url)
    if options["proxy"] is None:
        options = {"transport": AiohttpTransport(verify=options["verify"]), "trust_env": False}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=16)
    return httpx.AsyncClient(timeout=timeout, limits=limits, **options)


def proxy_for(url: str) -> str | None:
    """The proxy for `url` by `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.

    Names are in lower or upper case. `NO_PROXY` lists hosts, domains (with or without a dot
    before them), addresses, networks and `*`, each with a port or without. Raises Invalid,
    with the variable's name, for a proxy of an unknown kind.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_excluded(parts.hostname or "", parts.port, proxies.get("no", "")):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(proxy).scheme not in _SCHEMES:
        name = "ALL_PROXY" if parts.scheme not in proxies else f"{parts.scheme.upper()}_PROXY"
        raise Invalid(f"{name}: must be an http://, https://, socks5:// or socks5h:// URL")
    return proxy


def bearer(api_key: str) -> dict[bytes, bytes]:
    """The Authorization header of `api_key`; none if it is empty.

    As bytes: httpx would quote a key that no header can hold in its error.
    """
    key = api_key.strip()
    return {b"Authorization": b"Bearer " + key.encode()} if key else {}


def _is_excluded(host: str, port: int | None, no_proxy: str) -> bool:
    return any(_matches(host, port, entry.strip().lower()) for entry in no_proxy.split(","))


def _matches(host: str, port: int | None, entry: str) -> bool:
    if not entry or entry == "*":
        return entry == "*"
    try:
        network = ipaddress.ip_network(entry.strip("[]"), strict=False)
        return ipaddress.ip_address(host) in network
    except ValueError:
        pass  # one of the two is a name
    name, _, wanted = (
        entry.rpartition(":") if entry.rpartition(":")[2].isdigit() else (entry, "", "")
    )
    if wanted and port != int(wanted):
        return False
    name = name.strip("[]").removeprefix("*").removeprefix(".")
    return host == name or host.endswith(f".{name}")
