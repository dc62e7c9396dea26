"""The page's settings. No other module of the UI reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

Login = Literal["none", "password", "oidc"]

DEFAULT_PORT = "8000"
DEFAULT_MAX_UPLOAD_MB = 50


@dataclass(frozen=True, slots=True)
class Config:
    """The settings. `api_url` has no trailing slash; `max_upload_mb` is in MiB.

    `problem` says why this configuration must not be served; it is "" for a valid one.
    """

    api_url: str
    api_key: str
    max_upload_mb: int
    login: Login = "none"
    password: str = ""
    has_llm: bool = False
    flower_port: str = "5555"
    is_production: bool = False
    problem: str = ""


def read_config(environ: Mapping[str, str] = os.environ) -> Config:
    """Read `API_URL` (default: `PORT` on this machine), `API_KEY`, `UI_LOGIN` and others."""
    port = environ.get("PORT") or DEFAULT_PORT
    limit = environ.get("MAX_UPLOAD_MB", "")
    login = environ.get("UI_LOGIN") or "none"
    return Config(
        api_url=(environ.get("API_URL") or f"http://127.0.0.1:{port}").rstrip("/"),
        api_key=environ.get("API_KEY", ""),
        max_upload_mb=int(limit) if limit.isdecimal() and int(limit) else DEFAULT_MAX_UPLOAD_MB,
        login=cast(Login, login),
        password=environ.get("UI_PASSWORD", ""),
        has_llm=(environ.get("CHAT_PROVIDER") or "extractive") != "extractive",
        flower_port=environ.get("FLOWER_PORT") or "5555",
        is_production=environ.get("APP_ENV") == "production",
        problem=_problem(environ, login),
    )


def _problem(environ: Mapping[str, str], login: str) -> str:
    if login not in ("none", "password", "oidc"):
        return f"UI_LOGIN: none, password or oidc, not {login}."
    if login == "none" and environ.get("APP_ENV") == "production":
        return "UI_LOGIN: production needs password or oidc, or anybody may be anyone."
    if login == "password" and len(environ.get("UI_PASSWORD", "")) < 8:
        return "UI_PASSWORD: UI_LOGIN=password needs one of at least 8 characters."
    return ""
