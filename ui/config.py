"""The page's settings: the only place of the UI that reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_PORT = "8000"
DEFAULT_MAX_UPLOAD_MB = 50


@dataclass(frozen=True, slots=True)
class Config:
    """`api_url` has no slash at its end; `max_upload_mb` is in MiB."""

    api_url: str
    api_key: str
    max_upload_mb: int


def read_config(environ: Mapping[str, str] = os.environ) -> Config:
    """From `API_URL` (default: this machine's `PORT`), `API_KEY` and `MAX_UPLOAD_MB`."""
    port = environ.get("PORT") or DEFAULT_PORT
    limit = environ.get("MAX_UPLOAD_MB", "")
    return Config(
        api_url=(environ.get("API_URL") or f"http://127.0.0.1:{port}").rstrip("/"),
        api_key=environ.get("API_KEY", ""),
        max_upload_mb=int(limit) if limit.isdecimal() and int(limit) else DEFAULT_MAX_UPLOAD_MB,
    )
